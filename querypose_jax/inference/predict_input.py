"""What `--mode=predict` does with its --input: pictures or videos, one or many."""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.inference.addresses import fetch, is_address, last_part
from querypose_jax.inference.files import output_names, predict_files
from querypose_jax.inference.one_writer import one_writer
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.progress import Progress, file_state
from querypose_jax.inference.sources import SUFFIXES, files_in, list_pictures
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.unfinished import telling
from querypose_jax.inference.video import SUFFIXES as VIDEO_SUFFIXES
from querypose_jax.inference.video import VideoError, is_camera, is_video
from querypose_jax.inference.video_files import predict_video

UNFINISHED = "videos.part.jsonl"


def predict_input(
    predictor: Predictor,
    input: str,
    output: str,
    threshold: float | None = None,
    track: bool = False,
    smooth: bool = False,
) -> str:
    """Predicts whatever `input` names and says in one line what was written.

    Args:
        input: a picture, a folder of pictures, a glob, a text file with a path per line, a video, or the number of a
            camera; a glob or a text file names pictures or videos, and a folder without pictures may hold videos. Or
            the address of a picture, which is kept in OUTPUT/fetched, or of a stream.
        output: a folder, made if needed, for one command at a time; see `predict_files` and `predict_video` for what it
            gets.
        threshold: smallest score of a reported person; None: that of the predictor.
        track: gives people numbers that last over the frames of a video.
        smooth: follows people and smooths their joints over the frames of a video.

    Raises:
        UserError: nothing to read, pictures and videos mixed, pictures with `track` or `smooth`, the output would
            overwrite the input, holds the unfinished work of another command, or another command is writing there.
    """
    threshold = checked_threshold(threshold, predictor.threshold.score)
    with one_writer(Path(output)):
        return _predict(predictor, input, output, threshold, {"track": track, "smooth": smooth})


def _predict(predictor: Predictor, input: str, output: str, threshold: float, follow: dict[str, bool]) -> str:
    if is_camera(input):
        return f"{predict_video(predictor, input, output, threshold, **follow)} frames of the camera are in {output}"
    if is_address(input) and is_video(input):
        return f"{predict_video(predictor, input, output, threshold, **follow)} frames of the stream are in {output}"
    if is_address(input):
        input = str(fetched(input, Path(output) / "fetched"))
    paths = _named_by(input)
    videos = [path for path in paths if is_video(path)]
    if not videos and (flags := " and ".join(f"--{name}" for name, wanted in follow.items() if wanted)):
        raise UserError(f"{input}: {flags}: people are followed over the frames of a video, and these are pictures")
    if not videos:
        count = predict_files(predictor, input, output, threshold)
        return f"{counted(count, 'picture')} with poses and predictions.json are in {output}"
    if len(videos) < len(paths):
        raise UserError(f"{input}: names pictures and videos; predict them one after the other")
    if len(videos) == 1:
        frames = [predict_video(predictor, str(videos[0]), output, threshold, **follow)]
    else:
        frames = predict_videos(predictor, videos, input, output, threshold, **follow)
    films = f"{counted(len(frames), 'video')} with poses ({counted(sum(frames), 'frame')})"
    return f"{films} and JSON Lines are in {output}"


def fetched(address: str, folder: Path) -> Path:
    """The picture at an address, in a folder under the last part of its name."""
    path = folder / Path(last_part(address)).name
    content = fetch(address)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def predict_videos(
    predictor: Predictor, videos: Sequence[Path], input: str, output: str, threshold: float, track: bool, smooth: bool
) -> list[int]:
    """Several videos one after the other, see `predict_video`; what is done already is not done again.

    A video that cannot be read costs a line on the terminal and is left out. OUTPUT/videos.part.jsonl names those
    that are done, until all are.

    Returns:
        The number of frames of each video that was predicted, also by an earlier, unfinished call.

    Raises:
        UserError: none could be read, the output cannot be written or holds the unfinished work of another command.
    """
    folder, names = Path(output), [name.removesuffix(".jpg") for name in output_names(videos)]
    command = {"input": input, "threshold": threshold, "track": track, "smooth": smooth, "model": predictor.fingerprint}
    progress = Progress(folder / UNFINISHED, command)
    frames: list[int] = []

    def kept() -> str:
        done = f"{len(frames)} of {len(videos)} videos are done"
        return f"{done}; the same command goes on with the rest" if frames else ""

    with closing(progress), telling(kept):
        for path, name in zip(videos, names, strict=True):
            entry = file_state(path) | {"name": name}
            earlier = [found["frames"] for found in progress.earlier if entry.items() <= found.items()]
            if earlier and (folder / f"{name}.mp4").is_file() and (folder / f"{name}.jsonl").is_file():
                frames.append(earlier[0])
                continue
            try:
                frames.append(predict_video(predictor, str(path), output, threshold, track, name, smooth=smooth))
            except VideoError as error:
                tqdm.write(f"skipped: {error}")
            else:
                progress.add(entry | {"frames": frames[-1]})
    if not frames:
        raise UserError(f"{input}: none of the {len(videos)} videos could be read")
    progress.remove()
    return frames


def counted(count: int, noun: str) -> str:
    """1 picture, 2 pictures."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _named_by(input: str) -> list[Path]:
    if os.path.isdir(input) and not files_in(input, SUFFIXES):
        return files_in(input, VIDEO_SUFFIXES) or list_pictures(input)
    return list_pictures(input)
