"""Video files and cameras, read by PyAV.

Frames are handled one by one, so that memory does not grow with the length of a video.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.addresses import TIMEOUT_S, is_address, is_by_http, is_stream, without_password
from querypose_jax.inference.film_clock import FilmClock
from querypose_jax.inference.orientation import shown
from querypose_jax.inference.playlists import refuse_nested

SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".mpg", ".mpeg", ".mpe",
    ".m1v", ".m2v", ".mpv", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".3gp", ".3g2", ".flv", ".f4v", ".ogv",
    ".mxf", ".dv", ".rm", ".rmvb", ".nut", ".y4m", ".ivf", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265",
    ".hevc",
}  # fmt: skip
"""Files that are read as videos."""

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # format and file of camera number {}
NETWORK = {"rtsp_transport": "tcp", "protocol_whitelist": "http,https,tcp,tls,udp,rtp,rtsp,rtmp,rtmps,srt,crypto,hls"}
"""How streams are opened: whole packets, and nothing that one of them names on this machine's disk."""
DEFAULT_RATE = 25  # frames per second of a source that does not tell


class VideoError(UserError):
    """A video that cannot be read, or not to its end."""


class Frame(NamedTuple):
    """One picture of a video."""

    number: int
    """From 0."""
    seconds: float
    """From the first frame; later than that of the frame before, see `FilmClock`."""
    picture: Image.Image
    """RGB, upright, of square pixels."""


class Video(NamedTuple):
    """An opened video."""

    frames: Iterator[Frame]
    rate: Fraction
    """Frames per second, the mean where they are uneven."""
    num_frames: int | None
    """Number of frames as the file says; None where it does not."""


def is_video(source: str | int | Path) -> bool:
    """True for a camera (its number), for the path of a file that is read as a video, judged by its suffix, and for the
    address of a stream (see addresses.py)."""
    if is_address(source):
        return is_stream(source, SUFFIXES)
    return is_camera(source) or has_video_suffix(source)


def has_video_suffix(path: str | int | Path) -> bool:
    """True where a name says that the file is a video."""
    return Path(str(path)).suffix.lower() in SUFFIXES


def is_camera(source: str | int | Path) -> bool:
    """True for 0, 1, ... and "0", "1", ..., unless a file has this name."""
    return str(source).isdecimal() and not Path(str(source)).exists()


@contextmanager
def open_video(source: str | int | Path) -> Iterator[Video]:
    """Opens a video file, a camera by its number, or a stream by its address.

    Raises:
        UserError: PyAV is not installed.
        PictureError: the address of playlists without end.
        VideoError: the file is missing or holds no video, or the camera does not answer. A file that breaks off raises
            while its frames are read.
    """
    av = import_av()
    name, file, options = _file_of(source)
    if is_address(source) and is_by_http(file):
        refuse_nested(file)
    try:
        container = av.open(file, **options)
    except errors_of(av) as error:
        raise VideoError(f"{name}: cannot be opened as a video ({reason(error)})") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{name}: holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        yield Video(_frames(container, stream, rate, name), rate, stream.frames or None)


def import_av() -> Any:
    """PyAV; raises UserError where it is not installed."""
    try:
        import av
    except ModuleNotFoundError:
        raise UserError(
            "videos are read by PyAV, which is not installed; pip install '.[video]' in the clone"
        ) from None
    return av


def _file_of(source: str | int | Path) -> tuple[str, str, dict[str, Any]]:
    """What to call the source, and what `av.open` takes for it."""
    if isinstance(source, str) and is_address(source):
        return without_password(source), source, {"options": NETWORK, "timeout": TIMEOUT_S}
    if not is_camera(source):
        return str(source), str(source), {}
    if sys.platform not in CAMERAS:
        raise UserError(f"camera {source}: cameras are read on Linux and macOS only; record a file and name it")
    driver, pattern = CAMERAS[sys.platform]
    return f"camera {source}", pattern.format(source), {"format": driver}


def _frames(container: Any, stream: Any, rate: Fraction, name: str) -> Iterator[Frame]:
    av = import_av()
    clock = FilmClock(rate)
    decoded = container.decode(stream)
    for index in count():
        try:
            frame = next(decoded, None)
            if frame is None:
                return
            pixels = shown(frame, stream.sample_aspect_ratio)
        except errors_of(av) as error:
            said = f"cannot be decoded after {index} frames ({reason(error)})"
            raise VideoError(f"{name}: {said}; end the film there or write it anew with ffmpeg") from None
        yield Frame(index, clock.next(frame.time), Image.fromarray(pixels))


def errors_of(av: Any) -> tuple[type[Exception], ...]:
    """What PyAV raises: errors of its own, which are of many kinds, and Python's."""
    return av.error.FFmpegError, OSError, ValueError


def reason(error: Exception) -> str:
    """What FFmpeg says, without its numbers."""
    return getattr(error, "strerror", None) or str(error)
