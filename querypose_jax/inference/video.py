"""Video files and cameras: frames in by PyAV, frames out at the same times.

Frames are handled one by one, so that memory does not grow with the length of a video.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.inference.orientation import upright

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})
"""Files that are read as videos."""

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # format and file of camera number {}
DEFAULT_RATE = 25  # frames per second of a source that does not tell
CODEC_TIME = Fraction(1, 90_000)  # seconds: fine enough for every frame rate in use
CONSTANT_QUALITY = "20"  # x264's crf: 18 looks like the original, 23 is its default; thin limbs smear above


class Frame(NamedTuple):
    """One picture of a video."""

    number: int
    """From 0."""
    seconds: float
    """From the first frame."""
    picture: Image.Image
    """RGB, upright."""


class Video(NamedTuple):
    """An opened video."""

    frames: Iterator[Frame]
    rate: Fraction
    """Frames per second, the mean where they are uneven."""
    num_frames: int | None
    """Number of frames as the file says; None where it does not."""


def is_video(source: str | int | Path) -> bool:
    """True for a camera (its number) and for the path of a file that is read as a video, judged by its suffix."""
    return is_camera(source) or Path(str(source)).suffix.lower() in SUFFIXES


def is_camera(source: str | int | Path) -> bool:
    """True for 0, 1, ... and "0", "1", ..., unless a file has this name."""
    return str(source).isdecimal() and not Path(str(source)).exists()


@contextmanager
def open_video(source: str | int | Path) -> Iterator[Video]:
    """Opens a video file, or a camera by its number.

    Raises:
        UserError: PyAV is not installed, the file is missing or holds no video, or the camera does not answer. A
            file that breaks off raises while its frames are read.
    """
    av = import_av()
    name, file, options = _file_of(source)
    try:
        container = av.open(file, **options)
    except (OSError, ValueError) as error:  # PyAV's errors are of both kinds
        raise UserError(f"{name}: cannot be opened as a video ({_reason(error)})") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{name}: holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        yield Video(_frames(container, stream, rate, name), rate, stream.frames or None)


@contextmanager
def write_video(path: Path, rate: Fraction) -> Iterator["VideoWriter"]:
    """A video file (H.264) that appears whole at the end, or not at all where an error ends it.

    Args:
        path: its suffix chooses the container: .mp4, .mkv, .mov.
        rate: frames per second, kept in the file.
    """
    av = import_av()
    with whole_file(path) as temporary, av.open(str(temporary), "w", format=_container_format(path)) as container:
        writer = VideoWriter(container, rate)
        yield writer
        writer.finish()


class VideoWriter:
    """Takes frames of one size in order; the size is that of the first one."""

    def __init__(self, container: Any, rate: Fraction):
        self.container, self.rate = container, rate
        self.stream: Any = None

    def write(self, frame: Frame) -> None:
        """Encodes a frame at its own time. A side of odd length is continued by one pixel: H.264 needs even ones."""
        av = import_av()
        pixels = np.asarray(frame.picture)
        pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        if self.stream is None:
            self.stream = self.container.add_stream("libx264", rate=self.rate, options={"crf": CONSTANT_QUALITY})
            self.stream.height, self.stream.width = pixels.shape[:2]
            self.stream.pix_fmt = "yuv420p"  # what every player shows
            self.stream.codec_context.time_base = CODEC_TIME
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = round(frame.seconds / CODEC_TIME), CODEC_TIME
        self.container.mux(self.stream.encode(picture))

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        if self.stream is not None:
            self.container.mux(self.stream.encode(None))


def import_av() -> Any:
    """PyAV; raises UserError where it is not installed."""
    try:
        import av
    except ModuleNotFoundError:
        raise UserError("videos are read by PyAV, which is not installed; pip install 'querypose_jax[video]'") from None
    return av


def _file_of(source: str | int | Path) -> tuple[str, str, dict[str, str]]:
    """What to call the source, and what `av.open` takes for it."""
    if not is_camera(source):
        return str(source), str(source), {}
    if sys.platform not in CAMERAS:
        raise UserError(f"camera {source}: cameras are read on Linux and macOS only; record a file and name it")
    driver, pattern = CAMERAS[sys.platform]
    return f"camera {source}", pattern.format(source), {"format": driver}


def _frames(container: Any, stream: Any, rate: Fraction, name: str) -> Iterator[Frame]:
    av = import_av()
    index, first = 0, None
    decoded = container.decode(stream)
    while True:
        try:
            frame = next(decoded, None)
        except av.error.FFmpegError as error:
            raise UserError(f"{name}: cannot be decoded after {index} frames ({_reason(error)})") from None
        if frame is None:
            return
        seconds = index / float(rate) if frame.time is None else frame.time
        first = seconds if first is None else first
        picture = Image.fromarray(upright(frame.to_ndarray(format="rgb24"), frame))
        yield Frame(index, seconds - first, picture)
        index += 1


def _container_format(path: Path) -> str:
    formats = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
    if path.suffix.lower() not in formats:
        raise UserError(f"{path}: videos are written as {', '.join(formats)}")
    return formats[path.suffix.lower()]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
