"""Prediction from a video to a video with poses and to JSON Lines."""

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.inference.addresses import is_address, last_part
from querypose_jax.inference.film_lines import FilmLines
from querypose_jax.inference.frames import predict_frames
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.progress import JSON, file_state
from querypose_jax.inference.smoothing import REST_CUTOFF, Smoother, lag_s
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.unfinished import part_of, telling
from querypose_jax.inference.video import Frame, VideoError, is_camera, open_video
from querypose_jax.inference.video_writer import VideoWriter


def predict_video(
    predictor: Predictor,
    source: str | int,
    output: str | Path,
    threshold: float | None = None,
    track: bool = False,
    name: str | None = None,
    progress: bool = True,
    smooth: bool = False,
) -> int:
    """Writes `output`/NAME.mp4 with the poses drawn, frame by frame at the times of the source, and a JSON Lines file.

    `output`/NAME.jsonl holds a line per frame: `frame` (from 0), `seconds`, and `people` in the COCO results format
    without image ids, each with a `track` where people are followed; all in pixels of the first frame's size. A camera
    or stream runs until interrupted (control-C) or until it breaks off, which ends both files properly. The sound is
    left out. Until the last frame the files are NAME.part.mp4 and NAME.part.jsonl, and they stay where something fails
    on the way. The same call goes on from the people of NAME.part.jsonl: their frames are drawn again, not predicted
    again. A camera or stream begins anew, and so does a smoothed film.

    Args:
        source: path of a video, the number of a camera, or the address of a stream.
        output: a folder, made if needed; not the one the video is in.
        threshold: smallest score of a reported person; None: that of the predictor.
        track: gives people numbers that last over frames; needs the package trackers.
        name: NAME; None stands for that of the source without its suffix.
        progress: shows a bar.
        smooth: follows people and smooths their joints over frames; says on the terminal by how much they lag.

    Returns:
        The number of frames.

    Raises:
        UserError: the video cannot be read (to its end), a package is missing, the files cannot be written, or the
            output would overwrite the input or holds the unfinished work of another command.
    """
    threshold, smoother = checked_threshold(threshold, predictor.threshold.score), Smoother() if smooth else None
    live = is_camera(source) or is_address(source)
    name = name or name_of(source)
    if not live and Path(output).resolve() == Path(str(source)).resolve().parent:
        raise UserError(f"{output}: the video is in this folder; name another one for the output")
    command: JSON = {"threshold": threshold, "track": track, "smooth": smooth, "model": predictor.fingerprint}
    if not live:  # addresses may hold passwords
        command |= {"input": str(source), "file": file_state(Path(str(source)))}
    with open_video(source) as video, tqdm(total=video.num_frames, unit="frame", disable=not progress) as bar:
        lines = FilmLines(Path(output) / f"{name}.jsonl", command)
        files = FilmAndLines(Path(output) / f"{name}.mp4", lines, video.rate)
        earlier = () if live or smooth else lines.earlier(predictor.skeleton)
        with telling(files.keep):
            try:
                found = predict_frames(predictor.stream, video, threshold, track or smooth, earlier, smoother)
                for frame, prediction in found:
                    files.write(frame, prediction)
                    bar.update()
            except KeyboardInterrupt:
                if not live:
                    raise
            except VideoError:  # nobody can do anything about a stream that is over
                if not live or not files.count:
                    raise
                tqdm.write(f"{name}: the stream broke off after {files.count} frames")
            if not files.count:
                raise VideoError(f"{source}: holds no frame that can be read")
            files.finish()
    if smoother:
        lag = smoother.lag_s
        tqdm.write(
            f"joints are smoothed: on average {1000 * lag:.0f} ms ({lag * video.rate:.1f} frames) behind, at rest "
            f"{1000 * lag_s(REST_CUTOFF):.0f} ms"
        )
    return files.count


def name_of(source: str | int) -> str:
    """What the files of a video are called, without a suffix."""
    if isinstance(source, str) and is_address(source):
        return Path(last_part(source)).stem
    return f"camera_{source}" if is_camera(source) else Path(str(source)).stem


class FilmAndLines:
    """The two files of a video, which begin with the first frame and have their names once they are whole."""

    def __init__(self, film: Path, lines: FilmLines, rate: Fraction):
        self.film, self.lines, self.rate = film, lines, rate
        self.count, self.seconds = 0, 0.0  # frames of the film, and the time of the last one
        self._writer: Any = None

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """One frame more; its line is on disk when this returns."""
        if self._writer is None:
            self.film.parent.mkdir(parents=True, exist_ok=True)
            self._writer = VideoWriter(part_of(self.film), self.rate)
        self._writer.write(frame._replace(picture=prediction.draw()))
        if frame.number == self.lines.count:  # not known from an earlier start
            self.lines.add(frame, prediction)
        self.count, self.seconds = self.count + 1, frame.seconds

    def finish(self) -> None:
        """Closes both and gives them their names."""
        self._writer.close()
        os.replace(part_of(self.film), self.film)
        self.lines.finish()

    def keep(self) -> str:
        """After a failure: closes what there is, as far as that is possible, and says what it is."""
        for half in (self._writer, self.lines):
            with suppress(UserError, OSError):
                if half is not None:
                    half.close()
        film = part_of(self.film)
        if not self.count and self._writer is not None:
            film.unlink(missing_ok=True)
        if not self.count:
            return ""
        first = f"the first {self.count} frames ({self.seconds:.1f} s) are in {film} and {self.lines.part.name}"
        return f"{first}; the same command goes on from there"
