import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from querypose_jax.checkpoints.checkpoint import find_step
from querypose_jax.checkpoints.results import is_evaluated
from querypose_jax.devices import preemption
from querypose_jax.training.loop import train
from tests.training.fakes import fake_batches, fake_config
from tests.training.test_loop import losses, scores_in_files


def test_sigterm_is_heard_inside_the_context_only():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.listen(grace_s=60) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert stop()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_answer_of_all_processes_comes_two_questions_later():
    told = False
    stop = preemption.ask_all(lambda: told)
    answers = [stop() for _ in range(4)]
    told = True
    answers += [stop() for _ in range(4)]
    assert answers == [False] * 4 + [False] * preemption.QUESTIONS_AHEAD + [True] * 2


def test_an_iteration_ends_before_the_item_at_which_it_is_told_to():
    answers = iter([False, False, True])
    items = preemption.stop_between(lambda: next(answers), iter("abcd"))
    assert [next(items), next(items)] == ["a", "b"]
    with pytest.raises(preemption.Stopped):
        next(items)


def test_a_process_that_cannot_save_in_time_says_so_and_ends():
    code = (
        "import os, signal, time\n"
        "from querypose_jax.devices import preemption\n"
        "with preemption.listen(grace_s=0.2):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == preemption.TOO_LATE
    assert "0.2 s (train.grace_s) were not enough to save" in done.stderr
    assert time.monotonic() - started < 50


@pytest.mark.parametrize("last", [1, 4, 7, 10])  # the first step, one that is logged, none, one that is evaluated
def test_a_stopped_run_is_saved_at_that_step_and_continues_as_if_it_had_not_been(tmp_path, last):
    config = fake_config()
    config.eval.every = 10
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(config, fake_batches(), whole, scores_in_files(whole, []))

    calls = iter(range(1, 100))
    stopped = train(config, fake_batches(), parts, scores_in_files(parts, []), stop=lambda: next(calls) >= last)
    assert int(stopped.step) == find_step(parts) == last
    assert not is_evaluated(parts, last)
    seen = []
    state = train(config, fake_batches(), parts, scores_in_files(parts, seen))
    assert seen == [10, 12]
    assert losses(parts) == losses(whole)
    jax.tree.map(np.testing.assert_array_equal, state, expected)
