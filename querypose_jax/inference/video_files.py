"""Prediction from a video to a video with poses and to JSON Lines."""

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.inference.frames import predict_frames
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.predictor import DEFAULT_THRESHOLD, Predictor
from querypose_jax.inference.video import Frame, is_camera, open_video, write_video


def predict_video(
    predictor: Predictor,
    source: str | int,
    output: str | Path,
    threshold: float = DEFAULT_THRESHOLD,
    track: bool = False,
    name: str | None = None,
    progress: bool = True,
) -> int:
    """Writes `output`/NAME.mp4 with the poses drawn, frame by frame at the times of the source, and a JSON Lines file.

    `output`/NAME.jsonl holds a line per frame: `frame` (from 0), `seconds`, and `people` in the COCO results format
    without image ids, each with a `track` where people are followed. A camera runs until interrupted (control-C),
    which ends both files properly. The sound is left out.

    Args:
        source: path of a video, or the number of a camera.
        output: a folder, made if needed.
        threshold: smallest score of a reported person.
        track: gives people numbers that last over frames; needs the package trackers.
        name: NAME; None stands for that of the source without its suffix.
        progress: shows a bar.

    Returns:
        The number of frames.

    Raises:
        UserError: the video cannot be read, a package is missing, or the output would overwrite the input.
    """
    camera = is_camera(source)
    name = name or (f"camera_{source}" if camera else Path(str(source)).stem)
    film, lines = Path(output) / f"{name}.mp4", Path(output) / f"{name}.jsonl"
    if not camera and film.resolve() == Path(str(source)).resolve():
        raise UserError(f"{output}: the video is in this folder; name another one for the output")
    count = 0
    with (
        open_video(source) as video,
        whole_file(lines) as temporary,
        temporary.open("w", encoding="utf-8") as file,
        write_video(film, video.rate) as writer,
        tqdm(total=video.num_frames, unit="frame", disable=not progress) as bar,
    ):
        try:
            for frame, prediction in predict_frames(predictor.stream, video, threshold, track):
                writer.write(frame._replace(picture=prediction.draw()))
                file.write(json.dumps(_line(frame, prediction)) + "\n")
                count += 1
                bar.update()
        except KeyboardInterrupt:
            if not camera:
                raise
        if not count:
            raise UserError(f"{source}: holds no frame that can be read")
    return count


def _line(frame: Frame, prediction: Prediction) -> dict[str, Any]:
    people = prediction.to_coco()
    for person in people:
        del person["image_id"]
    if prediction.tracks is not None:
        for person, number in zip(people, prediction.tracks.tolist(), strict=True):
            person["track"] = number
    return {"frame": frame.number, "seconds": round(frame.seconds, 6), "people": people}
