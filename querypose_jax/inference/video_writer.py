"""Video files, written by PyAV frame by frame at given times."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.inference.video import Frame, errors_of, import_av, reason

CODEC_TIME = Fraction(1, 90_000)  # seconds: fine enough for every frame rate in use
LONGEST_FRAME = (2**31 - 1) // 2  # CODEC_TIMEs, 3.3 hours: mp4 holds no frame that is shown for twice as long
CONSTANT_QUALITY = "20"  # x264's crf: 18 looks like the original, 23 is its default; thin limbs smear above
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
# Playable at any moment up to the last key frame, also where the process is killed; finished, a file like any other.
SAFE = {"movflags": "frag_keyframe+hybrid_fragmented", "flush_packets": "1"}


@contextmanager
def write_video(path: Path, rate: Fraction) -> Iterator["VideoWriter"]:
    """A video file (H.264) that appears whole at the end, or not at all where an error ends it.

    Args:
        path: its suffix chooses the container: .mp4, .mkv, .mov.
        rate: frames per second, kept in the file.
    """
    with whole_file(path) as temporary:
        writer = VideoWriter(temporary, rate, suffix=path.suffix)
        try:
            yield writer
        finally:
            writer.close()


class VideoWriter:
    """Takes frames in order; the film has the size of the first one. Close it: what the encoder holds is written then.

    Raises (all methods): UserError where the file cannot be written.
    """

    def __init__(self, path: Path, rate: Fraction, suffix: str = ""):
        """
        Args:
            path: the file; it is replaced.
            rate: frames per second, kept in the file.
            suffix: chooses the container in place of that of `path`.
        """
        av, suffix = import_av(), (suffix or path.suffix).lower()
        if suffix not in FORMATS:
            raise UserError(f"{path}: videos are written as {', '.join(FORMATS)}")
        self.path, self.rate = path, rate
        self.stream: Any = None
        self.ticks, self.shift = -1, 0  # CODEC_TIMEs: of the last frame, and by how much gaps were shortened
        with self._told():
            self.container = av.open(str(path), "w", format=FORMATS[suffix], options=SAFE if suffix != ".mkv" else {})

    def write(self, frame: Frame) -> None:
        """Encodes a frame at its own time. A side of odd length is continued by one pixel: H.264 needs even ones."""
        av = import_av()
        pixels = np.asarray(frame.picture)
        pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        with self._told():
            if self.stream is None:
                self._begin(*pixels.shape[:2])
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = self._tick(frame.seconds), CODEC_TIME
            self.container.mux(self.stream.encode(picture))

    def close(self) -> None:
        """Writes what the encoder still holds and closes the file."""
        try:
            with self._told():
                if self.stream is not None:
                    self.container.mux(self.stream.encode(None))
        finally:
            with self._told():
                self.container.close()

    def _begin(self, height: int, width: int) -> None:
        self.stream = self.container.add_stream("libx264", rate=self.rate, options={"crf": CONSTANT_QUALITY})
        self.stream.height, self.stream.width = height, width
        self.stream.pix_fmt = "yuv420p"  # what every player shows
        self.stream.codec_context.time_base = CODEC_TIME

    def _tick(self, seconds: float) -> int:
        """The time of the next frame in CODEC_TIMEs, later than the last one's but not by more than LONGEST_FRAME."""
        ticks = max(round(seconds / CODEC_TIME) - self.shift, self.ticks + 1)
        if self.stream is not None and ticks > self.ticks + LONGEST_FRAME:
            self.shift += ticks - self.ticks - LONGEST_FRAME
            ticks = self.ticks + LONGEST_FRAME
        self.ticks = ticks
        return ticks

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except errors_of(import_av()) as error:
            raise UserError(f"{self.path}: cannot be written ({reason(error)})") from None
