"""Two starts in one folder: the second is told so in one line, whatever became of earlier ones."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from querypose_jax.checkpoints.one_run import NAME, one_run
from querypose_jax.errors import UserError
from querypose_jax.training.loop import train
from tests.training.fakes import fake_batches, fake_config

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import subprocess, sys
from pathlib import Path
from querypose_jax.checkpoints.one_run import one_run
with one_run(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder, and the number of its child."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process
    process.kill()
    os.kill(child, 9)  # first: it holds the pipe that is read to its end
    process.communicate()


def test_a_second_start_is_refused_and_touches_nothing(tmp_path, holder):
    half_written = tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp"
    half_written.mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^{tmp_path} is in use: process {holder.pid} on \S+ trains there; wait"):
        train(fake_config(), fake_batches(), tmp_path)
    assert half_written.exists()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_killed_run_keeps_nobody_out_although_its_child_lives(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert int(train(fake_config(), fake_batches(), tmp_path).step) == 12


def test_a_file_system_without_locks_holds_nothing(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with one_run(tmp_path):
        assert (tmp_path / NAME).read_text().startswith(f"process {os.getpid()} on ")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/run/run\.lock: cannot be written \(Not a directory\)"),
        one_run(tmp_path / "file" / "run"),
    ):
        pass
