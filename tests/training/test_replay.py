"""A step that ended a run is run again, from the checkpoint before it, to the bit."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from querypose_jax.errors import UserError
from querypose_jax.models import registry
from querypose_jax.training.bad_steps import NonFiniteError
from querypose_jax.training.loop import train
from querypose_jax.training.replay import group_of, replay
from tests.training.fakes import FAMILY, FakeModel, fake_batches, fake_config
from tests.training.test_bad_steps import poisoned_batches
from tests.training.test_loop import lines


def files(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


class SquaredDistance(FakeModel):
    """A NaN in its targets reaches every gradient; that of the absolute distance is a sign."""

    def loss(self, outputs, batch):
        distance = ((outputs - batch.boxes[:, 0]) ** 2).mean()
        return distance + 1, {"l2": distance, "constant": jnp.ones(())}


def test_the_step_that_ended_a_run_is_shown_with_what_is_not_finite_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(registry._registered, "fake", replace(FAMILY, build=lambda config, rngs: SquaredDistance(rngs)))
    config = fake_config(num_steps=50, max_bad_steps=2)
    with pytest.raises(NonFiniteError):
        train(config, poisoned_batches({7, 8}), tmp_path, fingerprint="data")
    before = files(tmp_path)
    text = replay(config, poisoned_batches({7, 8}), tmp_path, fingerprint="data")
    assert files(tmp_path) == before
    first, losses, verdict, *rest = text.splitlines()
    assert first == f"step 8 of {tmp_path}, from the checkpoint of step 5; seed 0; pictures 80, 81, 82, 83"
    assert "loss/total nan" in losses and "loss/constant 1" in losses
    assert verdict == "  this step is not finite: its update was skipped"
    assert rest[:2] == ["inputs", "  boxes: 8 of 32 not finite, pictures 80"]
    parts = {}
    for line in rest[2:]:
        parts.setdefault(line, []) if line[0] != " " else parts[list(parts)[-1]].append(line.strip())
    assert list(parts) == ["parameters", "moments", "statistics", "gradients"]
    assert all(": all finite, the largest " in line for part in list(parts)[:3] for line in parts[part])
    assert [line.split(" not finite")[0] for line in parts["gradients"]] == [
        "backbone: 32 of 32",
        "flow: 36 of 36",
        "norm: 16 of 16",
    ]


@pytest.mark.parametrize("step", [3, 6, 9])  # before the first checkpoint that is kept, right after one, later
def test_losses_of_a_replayed_step_are_those_of_the_run_to_the_bit(tmp_path, step):
    config = fake_config(num_steps=10, log_every=1)
    train(config, fake_batches(), tmp_path)
    text = replay(config, fake_batches(), tmp_path, step)
    logged = {line["step"]: line for line in lines(tmp_path)}[step]
    assert f"loss/total {logged['loss/total']:g}" in text
    assert f"grad_norm {logged['grad_norm']:g}" in text
    assert "this step is finite: its update was made" in text
    assert ("from the start" in text) == (step == 3)


def test_the_state_of_a_replayed_step_is_that_of_the_run_to_the_bit(tmp_path, monkeypatch):
    from querypose_jax.training import replay as module

    config = fake_config(num_steps=10)
    calls, seen = iter(range(99)), []
    real = module.look_inside

    def spy(gradients, state, batch):
        seen.append(jax.tree.map(np.array, state))
        return real(gradients, state, batch)

    monkeypatch.setattr(module, "look_inside", spy)
    train(config, fake_batches(), tmp_path / "long")
    replay(config, fake_batches(), tmp_path / "long", 9)
    expected = train(config, fake_batches(), tmp_path / "short", stop=lambda: next(calls) == 7)
    jax.tree.map(np.testing.assert_array_equal, seen[0], expected)


def test_other_data_and_steps_that_cannot_be_are_one_line(tmp_path):
    config = fake_config(num_steps=10)
    train(config, fake_batches(), tmp_path, fingerprint="one")
    with pytest.raises(UserError, match="trained on other data .*fingerprint one, now two"):
        replay(config, fake_batches(), tmp_path, 7, "two")
    with pytest.raises(UserError, match="steps count from 1"):
        replay(config, fake_batches(), tmp_path, 0, "one")
    with pytest.raises(UserError, match="no step has ended this run"):
        replay(config, fake_batches(), tmp_path, None, "one")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("backbone.stem.kernel", "backbone"),
        ("box_decoders.0.norm.scale", "box_decoders.0"),
        ("0.1.mu.arrays.backbone.stem.kernel", "0.1.mu.arrays.backbone"),
        ("0.1.mu.vectors", "0.1.mu.vectors"),
        ("scale", "scale"),
    ],
)
def test_groups_are_the_parts_of_a_model(name, group):
    assert group_of(name) == group
