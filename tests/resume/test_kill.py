"""A killed run, started again, writes the numbers it would have written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from querypose_jax.checkpoints.checkpoint import load_arrays

ROOT = Path(__file__).parent.parent.parent


def start(command: list[str], devices: int) -> subprocess.Popen:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    quiet = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, **quiet)


def run(command: list[str], devices: int = 1) -> None:
    process = start(command, devices)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def lines(workdir: Path) -> list[dict]:
    """What metrics.jsonl holds; the last line may still be in the making."""
    path = workdir / "metrics.jsonl"
    complete = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in complete]


def losses(workdir: Path) -> list[tuple]:
    """(step, losses, gradient norm): everything but what depends on the clock."""
    return [
        (
            line["step"],
            *((name, line[name]) for name in sorted(line) if name.startswith("loss/") or name == "grad_norm"),
        )
        for line in lines(workdir)
    ]


def kill_in_the_middle(command: list[str], workdir: Path, step: int, devices: int = 1) -> None:
    """SIGKILL once `step` is logged and a checkpoint is complete."""
    process = start(command, devices)
    deadline = time.monotonic() + 300
    while not (any(line["step"] >= step for line in lines(workdir)) and any(workdir.glob("checkpoints/[0-9]*[0-9]"))):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "the run does not come to the step at which it is to be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def check_kill_and_restart(command, tmp_path: Path, kill_at: int, num_steps: int) -> None:
    run(command(tmp_path / "whole"))
    kill_in_the_middle(command(tmp_path / "killed"), tmp_path / "killed", kill_at)
    assert kill_at <= lines(tmp_path / "killed")[-1]["step"] < num_steps
    run(command(tmp_path / "killed"))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert [line["step"] for line in lines(tmp_path / "killed")] == list(range(1, num_steps + 1))


def fake_command(workdir: Path) -> list[str]:
    return ["-m", "tests.resume.fake_run", str(workdir)]


@pytest.mark.slow
def test_a_killed_training_loop_continues_to_the_bit(tmp_path):
    check_kill_and_restart(fake_command, tmp_path, kill_at=18, num_steps=60)
    killed, whole = (load_arrays(tmp_path / name, 60) for name in ("killed", "whole"))
    assert killed.keys() == whole.keys()
    assert {name.split(".")[0] for name in whole} == {"model", "training", "ema"}
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


@pytest.mark.slow
def test_a_run_killed_on_four_devices_continues_on_two_as_if_on_one(tmp_path):
    run(fake_command(tmp_path / "one"))
    kill_in_the_middle(fake_command(tmp_path / "moved"), tmp_path / "moved", step=18, devices=4)
    run(fake_command(tmp_path / "moved"), devices=2)
    moved, one = ([line["loss/total"] for line in lines(tmp_path / name)] for name in ("moved", "one"))
    assert moved == pytest.approx(one, rel=2e-3)  # rounding of 60 steps


@pytest.mark.slow
def test_a_killed_querypose_on_synthetic_people_continues_to_the_bit(tmp_path):
    def command(workdir: Path) -> list[str]:
        return [
            "launch.py", "--config=tests/tiny_run.py", f"--workdir={workdir}",
            f"--config.data.prepared={tmp_path}/data",
            "--config.train.num_steps=40", "--config.train.checkpoint_every=10",
        ]  # fmt: skip

    check_kill_and_restart(command, tmp_path, kill_at=14, num_steps=40)
