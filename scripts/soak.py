"""Trains, predicts a video or serves the page for a while; looks whether memory, speed and open files stay as they are.

    python scripts/soak.py --what=train|video|page [--family=edpose] [--minutes=20] [--every=10]

train: `launch.py` on the family's synthetic_tiny.py, ended by SIGTERM. video: predict_video on a drawn film, again and
again, with the untrained model of that. page: the page with the same model, and four visitors, threads of this process,
who send pictures, some of them broken, and look at all views. A thread reads host memory (RssAnon), open files and the
steps, frames or answers so far, from /proc (Linux). The first fifth, two minutes at most, is warm-up.

A straight line goes through the memory of all minutes; a direction can be told where its slope is more than twice its
standard error. Exit code 1 where memory grows, by more than 2 % an hour and in a direction that can be told, the last
quarter is more than 10 % slower than the first, or files stay open.

Memory is what is held between two steps: RssAnon without the allocator's blocks in use, right after its free pages were
given back to the system, plus the least of blocks in use in the same minute. A training process keeps free pages
(querypose_jax/memory.py), and temporary arrays, a third of what is held, come and go in every step; neither is growth.
Of open files the least of a minute counts: pictures are opened and closed all the time. Needs glibc 2.33.
"""

import argparse
import io
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
from flax import nnx  # noqa: E402
from PIL import Image  # noqa: E402

import launch  # noqa: E402
from configs import synthetic_tiny  # noqa: E402
from configs.edpose import synthetic_tiny as edpose_tiny  # noqa: E402
from configs.grouppose import synthetic_tiny as grouppose_tiny  # noqa: E402
from configs.simplepose import synthetic_tiny as simplepose_tiny  # noqa: E402
from querypose_jax.devices.process import prepare_process  # noqa: E402
from querypose_jax.inference.predictor import Predictor  # noqa: E402
from querypose_jax.inference.serving import make_server  # noqa: E402
from querypose_jax.inference.video import Frame  # noqa: E402
from querypose_jax.inference.video_files import predict_video  # noqa: E402
from querypose_jax.inference.video_writer import write_video  # noqa: E402
from querypose_jax.memory import blocks_in_use, release_memory  # noqa: E402
from querypose_jax.models.registry import build_model  # noqa: E402
from querypose_jax.skeletons import get_skeleton  # noqa: E402

MEMORY_PERCENT_PER_HOUR, SLOWER, MORE_FILES = 2.0, 0.10, 0  # the limits
WINDOW_S = 60
TINY = {
    "querypose": synthetic_tiny,
    "grouppose": grouppose_tiny,
    "edpose": edpose_tiny,
    "simplepose": simplepose_tiny,
}
UNITS = {"train": "steps", "video": "frames", "page": "answers"}
VISITORS = 4
MOMENT_S, READS = 2, 20  # in a few steps there is a moment without temporary arrays
FRAMES, RATE = 1000, Fraction(25)  # of the film


class Sample(NamedTuple):
    """What is read at one moment."""

    seconds: float
    used: int  # bytes of allocated blocks, the least of a moment
    rest: int  # bytes of everything else, after free pages were given back
    files: int
    done: int  # steps, frames or answers


class Work(NamedTuple):
    """What is watched."""

    run: Callable[[], object]
    done: Callable[[], int]
    stop: Callable[[], None]


def sample(done: int) -> Sample:
    """Takes two seconds. RssAnon: pages of files come and go with the memory that others leave."""
    release_memory()
    status = Path("/proc/self/status").read_text()
    rest = 1024 * int(status.partition("RssAnon:")[2].split()[0]) - blocks_in_use()
    used, files = [], len(os.listdir("/proc/self/fd"))
    for _ in range(READS):
        used.append(blocks_in_use())
        time.sleep(MOMENT_S / READS)
    return Sample(time.monotonic(), min(used), rest, files, done)


def soak(work: Work, minutes: float, every: float) -> list[Sample]:
    """Runs the work and stops it so many minutes after its first step or frame; samples from there on."""
    samples: list[Sample] = []
    ended = threading.Event()

    def watch() -> None:
        while not work.done():
            if ended.wait(0.2):
                return
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            samples.append(sample(work.done()))
            if ended.wait(every):
                samples.clear()
                return
        work.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work.run()
    finally:
        ended.set()
        watcher.join()
    if not samples:
        raise SystemExit("it ended early")
    return samples


def training(folder: Path, family: str) -> Work:
    """A training run, stopped as one on a machine that is taken away."""
    command = [
        "launch.py", f"--config={Path(str(TINY[family].__file__)).relative_to(ROOT)}", f"--workdir={folder / 'run'}",
        f"--config.data.prepared={folder / 'data'}", "--config.train.num_steps=1000000",
    ]  # fmt: skip
    os.chdir(ROOT)
    prepare_process()
    return Work(
        lambda: launch.main(command), lambda: last_step(folder / "run"), lambda: os.kill(os.getpid(), signal.SIGTERM)
    )


def last_step(workdir: Path) -> int:
    """The last step of metrics.jsonl, from its end: the file grows."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0


def untrained(family: str) -> Predictor:
    """The family's tiny model with its first values."""
    config = TINY[family].get_config()
    return Predictor(config, *nnx.split(build_model(config, rngs=nnx.Rngs(0))), get_skeleton(config.data.skeleton))


def video(folder: Path, family: str) -> Work:
    """Frames of a film that is predicted again and again."""
    film, predictor = draw_film(folder / "film.mp4"), untrained(family)
    count, over, stream = [0], threading.Event(), predictor.stream

    def counted(*arguments) -> Iterator:
        for prediction in stream(*arguments):
            count[0] += 1
            yield prediction
            if over.is_set():
                raise KeyboardInterrupt

    def predict() -> None:
        while not over.is_set():
            try:
                predict_video(predictor, str(film), folder / "out", threshold=0.0, progress=False)
            except KeyboardInterrupt:
                return

    predictor.stream = counted
    return Work(predict, lambda: count[0], over.set)


def page(folder: Path, family: str) -> Work:
    """Answers of the served page, to people who come again and again."""
    server = make_server(untrained(family), port=0)
    address = f"http://127.0.0.1:{server.server_port}"
    views = server.RequestHandlerClass.about["views"]
    pictures, answers, over = [*drawn_pictures(), b"no picture"], [0] * VISITORS, threading.Event()

    def visit(number: int) -> None:
        turn = number
        while not over.is_set():
            path = f"/predict?threshold=0&view={views[turn % len(views)]}"
            with suppress(HTTPError):  # what is no picture is refused
                urlopen(Request(address + path, pictures[turn % len(pictures)]), timeout=600).read()
            answers[number] += 1
            turn += 1

    def serve() -> None:
        visitors = [threading.Thread(target=visit, args=(number,)) for number in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        server.serve_forever()
        for visitor in visitors:
            visitor.join()
        server.server_close()

    def stop() -> None:
        over.set()
        server.shutdown()

    return Work(serve, lambda: sum(answers), stop)


def drawn_pictures() -> list[bytes]:
    """JPEGs of three sizes."""
    files = []
    for width, height in ((192, 160), (160, 192), (640, 480)):
        noise = np.random.default_rng(width).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(noise).resize((width, height)).save(file := io.BytesIO(), "JPEG")
        files.append(file.getvalue())
    return files


def draw_film(path: Path) -> Path:
    """A box that walks."""
    with write_video(path, RATE) as writer:
        for index in range(FRAMES):
            picture = Image.new("RGB", (192, 160), (40, 60, 90))
            left = index % 150
            picture.paste((200, 120, 60), (left, 40, left + 30, 130))
            writer.write(Frame(index, float(index / RATE), picture))
    return path


class Held(NamedTuple):
    """What is held in a window of time."""

    seconds: float
    memory: float  # bytes
    files: int


def windows(samples: list[Sample]) -> list[Held]:
    """By WINDOW_S seconds; a rest joins the last window."""
    begin = samples[0].seconds
    whole = max(int((samples[-1].seconds - begin) / WINDOW_S), 1)
    parts: list[list[Sample]] = [[] for _ in range(whole)]
    for s in samples:
        parts[min(int((s.seconds - begin) / WINDOW_S), whole - 1)].append(s)
    return [
        Held(
            part[0].seconds,
            min(s.used for s in part) + statistics.median(s.rest for s in part),
            min(s.files for s in part),
        )
        for part in parts
        if part
    ]


def slope(held: list[Held]) -> tuple[float, float]:
    """Growth of memory in percent of its mean per hour, by a straight line through all windows, and its standard error;
    NaN where there are too few."""
    if len(held) < 2:
        return float("nan"), float("nan")  # never within the limits
    hours, memory = np.array([(h.seconds / 3600, h.memory) for h in held]).T
    line = scipy.stats.linregress(hours, 100 * memory / memory.mean())
    return float(line.slope), float(line.stderr)


def speed(samples: list[Sample]) -> float:
    """Steps or frames per second."""
    return (samples[-1].done - samples[0].done) / (samples[-1].seconds - samples[0].seconds)


def judge(samples: list[Sample], what: str) -> bool:
    """Prints the figures; whether all are within the limits."""
    begin = samples[0].seconds
    length = samples[-1].seconds - begin
    steady = [s for s in samples if s.seconds - begin >= min(120, length / 5)]
    quarter = max(len(steady) // 4, 2)
    held = windows(steady)
    (growth, error), speeds = slope(held), (speed(steady[:quarter]), speed(steady[-quarter:]))
    unit, direction = UNITS[what], "" if abs(growth) > 2 * error else ": no direction"
    change = 100 * (speeds[1] / speeds[0] - 1) if speeds[0] else float("nan")
    print(f"{what}: {length / 60:.1f} min, {samples[-1].done} {unit}, {len(steady)} samples after warm-up")
    print(f"memory held in each minute, MiB: {' '.join(f'{h.memory / 2**20:.1f}' for h in held)}")
    print(f"memory: {growth:+.2f} % an hour, standard error {error:.2f}{direction}")
    print(f"speed: {speeds[0]:.2f} -> {speeds[1]:.2f} {unit}/s ({change:+.1f} %)")
    print(f"open files, least of the first and of the last minute: {held[0].files} -> {held[-1].files}")
    within = (growth <= MEMORY_PERCENT_PER_HOUR or growth <= 2 * error) and speeds[1] >= (1 - SLOWER) * speeds[0]
    return within and held[-1].files - held[0].files <= MORE_FILES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=tuple(UNITS), required=True)
    parser.add_argument("--family", choices=tuple(TINY), default="querypose")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, default=10, help="seconds between two samples")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = {"train": training, "video": video, "page": page}[options.what](Path(folder), options.family)
        samples = soak(work, options.minutes, options.every)
    sys.exit(not judge(samples, options.what))


if __name__ == "__main__":
    main()
