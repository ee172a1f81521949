import json
import time

import pytest

from querypose_jax.training.metrics import MetricsLog, Speed


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
