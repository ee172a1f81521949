"""Which checkpoints of a run stay: the newest, and the best by what is known of their evaluations."""

import pytest

from querypose_jax.checkpoints.checkpoint import find_step
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from tests.checkpoints.test_checkpoint import kept, save_steps


def test_the_last_and_the_best_are_kept(tmp_path):
    save_steps(tmp_path, 6, keep_last=2, scores={2: 0.5, 4: 0.3})
    assert kept(tmp_path) == [2, 5, 6]
    assert find_step(tmp_path) == 6
    assert find_step(tmp_path, 2) == 2


def test_without_scores_only_the_last_are_kept(tmp_path):
    save_steps(tmp_path, 5, keep_last=2)
    assert kept(tmp_path) == [4, 5]


def test_of_equal_scores_the_later_one_is_the_best(tmp_path):
    save_steps(tmp_path, 6, keep_last=1, scores={2: 0.5, 4: 0.5, 5: 0.1})
    assert kept(tmp_path) == [4, 6]


def test_the_best_of_earlier_starts_is_known_from_the_files_of_their_evaluations(tmp_path):
    for step, score in ((1, 0.1), (2, 0.7), (3, 0.2)):
        write_json(tmp_path / "eval" / str(step) / "metrics.json", {"keypoint/AP": score})
    save_steps(tmp_path, 5, keep_last=1)
    assert kept(tmp_path) == [2, 5]
    (tmp_path / "eval" / "3" / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="eval/3/metrics.json: not a JSON file"):
        Checkpoints(tmp_path)
