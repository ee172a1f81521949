"""Trains, or predicts a video, for a while, and looks whether memory, speed and open files stay as they are.

    python scripts/soak.py --what=train|video [--minutes=20] [--every=1]

train: `launch.py` on configs/synthetic_tiny.py, in a process of its own. video: predict_video on a drawn film, again
and again, with the untrained model of the same configuration. Every second host memory (RssAnon), open files and
the steps or frames so far are read, from /proc (Linux). The first fifth, two minutes at most, is warm-up. Exit code 1
where memory grows by more than 2 % an hour, the last quarter is more than 10 % slower than the first, or files stay
open.

Memory is the least of each minute: what a process holds between two steps. In a step XLA's temporary arrays come on
top, a fifth of all in training, and go again; a line through samples taken at any moment follows what it happens to
meet.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402
from PIL import Image  # noqa: E402

MEMORY_PERCENT_PER_HOUR, SLOWER, MORE_FILES = 2.0, 0.10, 0  # the limits
FRAMES, RATE = 1000, Fraction(25)  # of the film
WINDOW_S = 60  # memory is the least of so many seconds
PATIENCE_S = 300  # until the first step or frame


class Sample(NamedTuple):
    """What is read at one moment."""

    seconds: float
    rss: int  # bytes
    files: int
    done: int  # steps or frames


def sample(pid: int, done: int) -> Sample:
    """Reads /proc. RssAnon: pages of files come and go with the memory that others leave."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = 1024 * int(status.partition("RssAnon:")[2].split()[0])
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(time.monotonic(), rss, files, done)


def watch(pid: int, done: Callable[[], int], minutes: float, every: float, alive: Callable[[], bool]) -> list[Sample]:
    """Samples from the first step or frame on."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if not alive() or time.monotonic() > deadline:
            raise SystemExit("nothing was done")
        time.sleep(0.2)
    samples, end = [], time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        if not alive():
            raise SystemExit("it ended early")
        samples.append(sample(pid, done()))
        time.sleep(every)
    return samples


def soak_training(folder: Path, minutes: float, every: float) -> list[Sample]:
    """Steps of a training run that is stopped by SIGTERM, as a machine that is taken away would be."""
    command = [
        sys.executable, "launch.py", "--config=configs/synthetic_tiny.py", f"--workdir={folder / 'run'}",
        f"--config.data.prepared={folder / 'data'}", "--config.train.num_steps=1000000",
    ]  # fmt: skip
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        return watch(process.pid, lambda: last_step(folder / "run"), minutes, every, lambda: process.poll() is None)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def last_step(workdir: Path) -> int:
    """The last step of metrics.jsonl, from its end: the file grows."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0


def soak_video(folder: Path, minutes: float, every: float) -> list[Sample]:
    """Frames of a film that is predicted again and again in this process, by a second thread."""
    from configs import synthetic_tiny
    from querypose_jax.inference.predictor import Predictor
    from querypose_jax.inference.video_files import predict_video
    from querypose_jax.models.registry import build_model
    from querypose_jax.skeletons import get_skeleton

    film = draw_film(folder / "film.mp4")
    config = synthetic_tiny.get_config()
    predictor = Predictor(config, *nnx.split(build_model(config, rngs=nnx.Rngs(0))), get_skeleton(config.data.skeleton))
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
    worker = threading.Thread(target=predict)
    worker.start()
    try:
        return watch(os.getpid(), lambda: count[0], minutes, every, worker.is_alive)
    finally:
        over.set()
        worker.join()


def draw_film(path: Path) -> Path:
    """A rectangle that walks over the picture."""
    from querypose_jax.inference.video import Frame, write_video

    with write_video(path, RATE) as writer:
        for index in range(FRAMES):
            picture = Image.new("RGB", (192, 160), (40, 60, 90))
            left = index % 150
            picture.paste((200, 120, 60), (left, 40, left + 30, 130))
            writer.write(Frame(index, float(index / RATE), picture))
    return path


def windows(samples: list[Sample]) -> list[list[Sample]]:
    """The samples by WINDOW_S seconds; what is left at the end joins the last window."""
    begin = samples[0].seconds
    whole = max(int((samples[-1].seconds - begin) / WINDOW_S), 1)
    parts: list[list[Sample]] = [[] for _ in range(whole)]
    for s in samples:
        parts[min(int((s.seconds - begin) / WINDOW_S), whole - 1)].append(s)
    return [part for part in parts if part]


def slope(held: list[Sample]) -> float:
    """Growth of memory in percent of its mean per hour: a straight line through what was held in each window."""
    if len(held) < 2:
        return float("nan")  # never within the limits
    hours, rss = np.array([(s.seconds / 3600, s.rss) for s in held]).T
    return float(100 * np.polyfit(hours - hours[0], rss, 1)[0] / rss.mean())


def speed(samples: list[Sample]) -> float:
    """Steps or frames per second."""
    return (samples[-1].done - samples[0].done) / (samples[-1].seconds - samples[0].seconds)


def judge(samples: list[Sample], what: str) -> bool:
    """Prints the figures; whether all are within the limits."""
    begin = samples[0].seconds
    length = samples[-1].seconds - begin
    steady = [s for s in samples if s.seconds - begin >= min(120, length / 5)]
    quarter = max(len(steady) // 4, 2)
    first, last = steady[:quarter], steady[-quarter:]
    held = [min(part, key=lambda s: s.rss) for part in windows(steady)]
    growth, speeds = slope(held), (speed(first), speed(last))
    files = [max(s.files for s in part) for part in (first, last)]
    unit = "steps" if what == "train" else "frames"
    print(f"{what}: {length / 60:.1f} min, {samples[-1].done} {unit}, {len(steady)} samples after warm-up")
    print(f"memory, least of each minute, MiB: {' '.join(f'{s.rss / 2**20:.1f}' for s in held)}")
    print(f"memory: {growth:+.2f} % an hour; with temporaries at most {max(s.rss for s in steady) / 2**20:.0f} MiB")
    print(f"speed: {speeds[0]:.2f} -> {speeds[1]:.2f} {unit}/s ({100 * (speeds[1] / speeds[0] - 1):+.1f} %)")
    print(f"open files, at most: {files[0]} -> {files[1]}")
    within = growth <= MEMORY_PERCENT_PER_HOUR and speeds[1] >= (1 - SLOWER) * speeds[0]
    return within and files[1] - files[0] <= MORE_FILES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("train", "video"), required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, default=1, help="seconds between two samples")
    options = parser.parse_args()
    soak = {"train": soak_training, "video": soak_video}[options.what]
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(Path(folder), options.minutes, options.every)
    sys.exit(not judge(samples, options.what))


if __name__ == "__main__":
    main()
