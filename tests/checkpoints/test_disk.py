"""Disks that are full or read-only, for real: small file systems of the test's own, where the system allows them."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from querypose_jax.checkpoints.checkpoint import finished_steps, load_arrays
from querypose_jax.checkpoints.disk import told_where
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.devices.process import ignore_closed_event_loops
from querypose_jax.errors import UserError
from tests.checkpoints.test_checkpoint import fresh_state, kept, save_steps

ROOT = Path(__file__).parent.parent.parent
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize(
    ("fault", "reason"), [(["2800k"], "No space left on device"), (["9m", "7"], "Read-only file system")]
)
def test_a_disk_that_refuses_ends_a_run_with_its_reason_and_the_checkpoints_before_stay(tmp_path, fault, reason):
    command = [*NAMESPACE, sys.executable, "-m", "tests.checkpoints.small_disk", str(tmp_path), *fault]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    last = int(done.stdout.splitlines()[-1].removeprefix("step ").removesuffix(": 17 arrays"))  # it can be read
    assert last in (4, 8)
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert (
        f"error: {tmp_path}/checkpoints: cannot be written ({reason}); the checkpoint of step {last} is good; "
        "make room or mend the folder, and continue"
    ) in done.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_save_that_fails_is_told_once_and_leaves_the_last_checkpoint(tmp_path, monkeypatch, number):
    save_steps(tmp_path, 2)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        state = checkpoints.restore(fresh_state())
        monkeypatch.setattr(checkpoints.manager, "save", refuse)
        with pytest.raises(UserError, match="the checkpoint of step 2 is good; make room"):
            checkpoints.save(state, {"data": "abc"})
    assert finished_steps(tmp_path) == [1, 2]
    assert load_arrays(tmp_path)


def test_what_a_killed_start_left_half_written_or_half_deleted_is_never_chosen_and_goes(tmp_path):
    save_steps(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "3", folder / "4.orbax-checkpoint-tmp")
    shutil.copytree(folder / "3", folder / "deleted" / "1")
    shutil.rmtree(folder / "deleted" / "1" / "model")
    assert finished_steps(tmp_path) == [2, 3]
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        assert checkpoints.latest_step == 3
        checkpoints.save(checkpoints.restore(fresh_state()), {"data": "abc"})
    assert kept(tmp_path) == [2, 3]


def test_what_a_killed_start_had_no_time_to_delete_goes_before_the_next_is_written(tmp_path):
    save_steps(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "1")  # as if killed right after 3 was complete
    assert finished_steps(tmp_path) == [1, 2, 3]
    with Checkpoints(tmp_path, keep_last=2):
        assert finished_steps(tmp_path) == [2, 3]
        assert not (folder / "deleted").exists()


def test_errors_that_are_not_the_file_systems_pass(tmp_path):
    with pytest.raises(ValueError, match="^shape$"), told_where(tmp_path, "hint"):
        raise ValueError("shape")
    text = "RESOURCE_EXHAUSTED: ... [os_error_code='28']"
    with (
        pytest.raises(UserError, match="cannot be written .No space left on device.; hint"),
        told_where(tmp_path, "hint"),
    ):
        raise ValueError(text)


def test_only_the_closed_loops_of_others_are_ignored(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(str(unraisable.exc_value)))
    ignore_closed_event_loops()
    for error in (RuntimeError("Event loop is closed"), RuntimeError("another"), ValueError("Event loop is closed")):
        sys.unraisablehook(SimpleNamespace(exc_type=type(error), exc_value=error))
    assert told == ["another", "Event loop is closed"]
