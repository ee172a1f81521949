"""Two processes train as one does; they stop together, fail together and say why."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from querypose_jax.checkpoints.checkpoint import find_step
from querypose_jax.checkpoints.one_run import one_run
from tests.resume.test_kill import lines, losses

ROOT = Path(__file__).parent.parent.parent
PEER_LOST = 4


def start(workdir: Path, *arguments: str, count: int = 2, others: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    """`count` processes, four devices together; `others` are the arguments of all but the first."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(4 // count)}
    program = [sys.executable, "-m", "tests.multi_device.fake_run", str(workdir), port]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            [*program, str(i), str(count), *(others if i and others else arguments)], cwd=ROOT, env=environment, **quiet
        )
        for i in range(count)
    ]


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    outputs = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def wait_for_step(processes: list[subprocess.Popen], workdir: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while not lines(workdir) or lines(workdir)[-1]["step"] < step:
        assert all(process.poll() is None for process in processes), ends(processes)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_for_one_of_two_processes_saves_and_ends_both(tmp_path):
    processes = start(tmp_path, "2000")
    wait_for_step(processes, tmp_path, 10)
    processes[1].send_signal(signal.SIGTERM)
    (code, said, errors), (other_code, other_said, _) = ends(processes)
    assert (code, other_code) == (0, 0), errors
    step = find_step(tmp_path)
    assert 10 <= step < 2000
    for text in (said, other_said):
        assert text.splitlines()[-1] == f"ended at step {step}"
    assert lines(tmp_path)[-1]["step"] == step


@pytest.mark.slow
def test_processes_that_were_given_different_runs_stop_with_one_line(tmp_path):
    for code, _, errors in ends(start(tmp_path, "20", "0.001", others=("20", "0.002"))):
        assert code == 1
        assert "do not agree: the configuration of process 1 is not that of process 0" in errors.splitlines()[-1]
    assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_continue_to_the_bit(tmp_path):
    for code, _, errors in ends(start(tmp_path / "whole", "40")):
        assert code == 0, errors
    processes = start(tmp_path / "killed", "40")
    wait_for_step(processes, tmp_path / "killed", 12)
    processes[1].kill()
    (code, _, errors), _ = ends(processes)
    assert code == PEER_LOST or "another task died" in errors
    for code, _, errors in ends(start(tmp_path / "killed", "40")):
        assert code == 0, errors
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_continue_as_one(tmp_path):
    for code, _, errors in ends(start(tmp_path / "one", "60", count=1)):
        assert code == 0, errors
    processes = start(tmp_path / "moved", "60")
    wait_for_step(processes, tmp_path / "moved", 8)
    processes[0].send_signal(signal.SIGTERM)
    for code, _, errors in ends(processes):
        assert code == 0, errors
    assert 8 <= find_step(tmp_path / "moved") < 60
    for code, _, errors in ends(start(tmp_path / "moved", "60", count=1)):
        assert code == 0, errors
    moved, one = ([line["loss/total"] for line in lines(tmp_path / name)] for name in ("moved", "one"))
    assert moved[0] == pytest.approx(one[0], rel=1e-5)
    assert moved == pytest.approx(one, rel=2e-3)  # rounding of 60 steps


@pytest.mark.slow
def test_processes_that_start_in_a_folder_in_use_end_with_a_line_each(tmp_path):
    with one_run(tmp_path):
        (code, _, errors), (other_code, _, other_errors) = ends(start(tmp_path, "20"))
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"error: {tmp_path} is in use: process {os.getpid()} on ")
    assert other_code == PEER_LOST or "another task died" in other_errors
    assert not (tmp_path / "config.json").exists()
