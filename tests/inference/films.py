"""Films that tests write: at any times, of any size, such that their bytes can be joined or damaged."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = Fraction(25)
TICKS = 90_000  # per second


def red_frame(index: int, size: tuple[int, int]) -> Image.Image:
    """A red rectangle over the middle half of a blue picture, a little larger from frame to frame."""
    w, h = size
    drawn = Image.new("RGB", size, (0, 0, 120))
    drawn.paste((255, 0, 0), (w // 4, h // 4, 3 * w // 4, 3 * h // 4))
    return drawn


def write_at(path: Path, seconds: Sequence[float], size: tuple[int, int] = (128, 96)) -> Path:
    """Motion JPEG, which has no order of its own: any times may be written."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        for index, at in enumerate(seconds):
            picture = av.VideoFrame.from_ndarray(np.asarray(red_frame(index, size)), format="rgb24")
            picture.pts, picture.time_base = index * TICKS, Fraction(1, TICKS)  # what the encoder insists on
            for packet in stream.encode(picture):
                packet.pts = packet.dts = round(at / packet.time_base)
                container.mux(packet)
    return path


def write_stream(path: Path, count: int, size: tuple[int, int] = (128, 96)) -> Path:
    """H.264 in a transport stream, files of which may be joined by joining their bytes."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_image(red_frame(index, size))))
        container.mux(stream.encode(None))
    return path


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
