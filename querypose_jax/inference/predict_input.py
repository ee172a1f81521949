"""What `--mode=predict` does with its --input: pictures or videos, one or many."""

from querypose_jax.errors import UserError
from querypose_jax.inference.files import output_names, predict_files
from querypose_jax.inference.predictor import DEFAULT_THRESHOLD, Predictor
from querypose_jax.inference.sources import list_pictures
from querypose_jax.inference.video import is_camera, is_video
from querypose_jax.inference.video_files import predict_video


def predict_input(
    predictor: Predictor, input: str, output: str, threshold: float = DEFAULT_THRESHOLD, track: bool = False
) -> str:
    """Predicts whatever `input` names and says in one line what was written.

    Args:
        input: a picture, a folder of pictures, a glob, a text file with a path per line, a video, or the number of a
            camera; a glob or a text file names pictures or videos.
        output: a folder, made if needed; see `predict_files` and `predict_video` for what it gets.
        threshold: smallest score of a reported person.
        track: gives people numbers that last over the frames of a video.

    Raises:
        UserError: nothing to read, pictures and videos mixed, or the output would overwrite the input.
    """
    if is_camera(input):
        return f"{predict_video(predictor, input, output, threshold, track)} frames of the camera are in {output}"
    paths = list_pictures(input)
    videos = [path for path in paths if is_video(path)]
    if not videos:
        count = predict_files(predictor, input, output, threshold)
        return f"{counted(count, 'picture')} with poses and predictions.json are in {output}"
    if len(videos) < len(paths):
        raise UserError(f"{input}: names pictures and videos; predict them one after the other")
    names = [name.removesuffix(".jpg") for name in output_names(videos)]
    frames = [
        predict_video(predictor, str(path), output, threshold, track, name)
        for path, name in zip(videos, names, strict=True)
    ]
    films = f"{counted(len(videos), 'video')} with poses ({counted(sum(frames), 'frame')})"
    return f"{films} and JSON Lines are in {output}"


def counted(count: int, noun: str) -> str:
    """1 picture, 2 pictures."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
