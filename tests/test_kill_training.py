"""The run that nobody kills has a checkpoint of every step: a run that is told to end may save any of them."""

import subprocess

import pytest

from scripts import kill_training


def test_whatever_step_a_run_may_save_there_is_one_to_compare_with(monkeypatch, tmp_path):
    commands = []

    class Over:
        returncode = 0

        def communicate(self, timeout):
            return b"", b""

    def started(command, **more):
        commands.append(command)
        return Over()

    def nothing_more(*given):
        raise InterruptedError

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(kill_training, "kill", nothing_more)
    monkeypatch.setattr(kill_training.Watch, "start", lambda self: None)
    with pytest.raises(InterruptedError):
        kill_training.survive(kill_training.Run("x.py", tmp_path, steps=9), kills=1, seed=0)
    whole, killed = commands
    assert {"--config.train.checkpoint_every=1", "--config.train.keep_last=9"} <= set(whole)
    assert {"--config.train.checkpoint_every=4", "--config.train.keep_last=2"} <= set(killed)
