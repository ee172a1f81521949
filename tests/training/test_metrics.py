import json
import sys
import time

import pytest
from PIL import Image

from querypose_jax.checkpoints.config_json import write_config
from querypose_jax.errors import UserError
from querypose_jax.pictures import write_jpeg
from querypose_jax.structures import PeopleBudget
from querypose_jax.training.metrics import Compiling, MetricsLog, Speed
from tests.models.small_model import people_batch
from tests.training.fakes import fake_config


def read(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_after_a_restart_the_file_holds_each_step_once_also_after_a_torn_line(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        for step in (10, 20, 30):
            log.write(step, {"loss/total": step / 3})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "loss')
    with MetricsLog(tmp_path, 20) as log:
        log.write(30, {"loss/total": 0.1})
    assert read(tmp_path) == [
        {"step": 10, "loss/total": 10 / 3},
        {"step": 20, "loss/total": 20 / 3},
        {"step": 30, "loss/total": 0.1},
    ]


def test_lines_are_on_disk_before_the_run_ends_and_tensorboard_gets_a_file(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, {"loss/total": 2.5})
        assert read(tmp_path) == [{"step": 1, "loss/total": 2.5}]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_excluded_time_does_not_count_as_training():
    speed = Speed()
    speed.add(10)
    time.sleep(0.05)
    with speed.excluded():
        time.sleep(0.5)
    assert speed.read() > 10 / 0.3
    assert speed.read() == pytest.approx(0)


class FakeWandb:
    """Stands for the wandb module: notes what it is told."""

    def __init__(self):
        self.told, self.finished = [], False

    def init(self, **arguments):
        self.arguments = arguments
        return self

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.finished = True

    Image = staticmethod(lambda pixels: ("picture", pixels.shape))


def test_weights_and_biases_gets_values_pictures_and_the_configuration_under_a_lasting_name(tmp_path, monkeypatch):
    write_config(tmp_path, fake_config())
    write_jpeg(tmp_path / "eval" / "5" / "worst" / "01_7.jpg", Image.new("RGB", (8, 6)))
    runs = []
    for _ in range(2):
        fake = FakeWandb()
        monkeypatch.setitem(sys.modules, "wandb", fake)
        with MetricsLog(tmp_path, 4, wandb_project="poses") as log:
            log.write(5, {"loss/total": 2.5})
        runs.append(fake)
    assert runs[0].told == [(5, {"loss/total": 2.5, "worst/01_7": ("picture", (6, 8, 3))})]
    assert runs[0].finished
    assert runs[0].arguments["project"] == "poses"
    assert runs[0].arguments["config"]["train"]["num_steps"] == 12
    assert runs[0].arguments["id"] == runs[1].arguments["id"]


def test_weights_and_biases_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb_project='poses': wandb is not installed; pip install"):
        MetricsLog(tmp_path, 0, wandb_project="poses")


def test_tensorboard_gets_the_pictures_of_an_evaluated_step(tmp_path):
    write_jpeg(tmp_path / "eval" / "5" / "pictures" / "7.jpg", Image.new("RGB", (8, 6)))
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, {"loss/total": 2.5})
        (events,) = tmp_path.glob("events.out.tfevents.*")
        before = events.stat().st_size
        log.write(5, {"loss/total": 2.5})
    assert b"pictures/7" in events.read_bytes()[before:]
    assert b"pictures/7" not in events.read_bytes()[:before]


class FakeBar:
    """A progress bar that remembers what it is told."""

    disable = False

    def __init__(self):
        self.lines, self.descriptions = [], []

    def write(self, line):
        self.lines.append(line)

    def set_description(self, text):
        self.descriptions.append(text)


def test_each_new_shape_is_announced_once_and_the_first_as_a_line():
    bar, batches = FakeBar(), [people_batch(size=size, budget=PeopleBudget(1, 8)) for size in ((64, 96), (32, 32))]
    compiling = Compiling(bar)
    for batch in (batches[0], batches[0], batches[1]):
        with compiling.told(batch):
            pass
    assert bar.lines == [
        "compiling the training step for 4 pictures of 64x96, up to 8 people; "
        "every other shape compiles when it first comes"
    ]
    assert bar.descriptions == [
        "compiling for 4 pictures of 64x96, up to 8 people",
        "train",
        "compiling for 4 pictures of 32x32, up to 8 people",
        "train",
    ]
