import jax
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import find_step, load_model, named_leaves, save_model
from querypose_jax.checkpoints.config_json import write_config
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.start import start_from
from querypose_jax.checkpoints.train_state import init_state
from querypose_jax.errors import UserError
from querypose_jax.training.optimizer import make_optimizer
from tests.training.fakes import FakeModel, fake_config

bump = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)


def fresh_state(seed: int = 0, width: int = 8):
    return init_state(FakeModel(nnx.Rngs(seed), width), make_optimizer(fake_config().optimizer, 12))[1]


def save_steps(directory, count: int, keep_last: int = 2, scores: dict[int, float] | None = None):
    """Saves steps 1..count; returns the last state as numpy."""
    write_config(directory, fake_config())
    state = fresh_state()
    with Checkpoints(directory, keep_last) as checkpoints:
        for step in range(1, count + 1):
            state = bump(state)
            copy = jax.tree.map(np.array, state)
            checkpoints.save(state, {"data": "abc"})
            if scores and step in scores:
                checkpoints.rank(step, {"keypoint/AP": scores[step], "box/AP": 0.0})
            state = bump(state) if step == count else state  # donates what is still being written
    return copy


def kept(directory) -> list[int]:
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir())


def test_a_restored_state_is_equal_to_the_bit_although_the_saved_one_was_donated(tmp_path):
    expected = save_steps(tmp_path, 3)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 3
        assert checkpoints.about()["data"] == "abc"
        restored = checkpoints.restore(fresh_state(seed=1))
    jax.tree.map(np.testing.assert_array_equal, expected, restored)


def test_loading_a_model_reads_its_configuration_and_weights_only(tmp_path):
    expected = save_steps(tmp_path, 2)
    config, graphdef, state = load_model(tmp_path)
    assert config == fake_config()
    jax.tree.map(np.testing.assert_array_equal, expected.model, state)
    assert isinstance(nnx.merge(graphdef, state), FakeModel)


def test_weights_of_a_part_start_a_fresh_model_and_the_rest_is_named(tmp_path):
    part = nnx.state(nnx.Dict(backbone=FakeModel(nnx.Rngs(5)).backbone))
    save_model(tmp_path, fake_config(), part)
    before = nnx.state(FakeModel(nnx.Rngs(0)))
    after, table, _ = start_from(tmp_path, fake_config(), before)
    np.testing.assert_array_equal(after["backbone"]["kernel"][...], part["backbone"]["kernel"][...])
    np.testing.assert_array_equal(after["flow"]["kernel"][...], before["flow"]["kernel"][...])
    assert sorted(table.drawn) == sorted(name for name in named_leaves(before) if not name.startswith("backbone"))


def test_a_checkpoint_of_another_model_names_what_differs(tmp_path):
    save_steps(tmp_path, 1)
    other = fake_config()
    other.model.width = 16
    with pytest.raises(
        UserError,
        match=r"checkpoints/1 is the checkpoint of another model: backbone.bias has shape \[8\], not \[16\]; .* more",
    ):
        load_model(tmp_path, config=other)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="another model"):
        checkpoints.restore(fresh_state(width=16))


def test_imported_weights_cannot_be_resumed_but_say_what_to_do(tmp_path):
    save_model(tmp_path, fake_config(), fresh_state().model)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="holds weights only; .*init_from"):
        checkpoints.restore(fresh_state())
    with pytest.raises(UserError, match="already holds checkpoints"):
        save_model(tmp_path, fake_config(), fresh_state().model)


def test_nothing_to_load_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file|no checkpoints here"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no checkpoints here"):
        find_step(tmp_path)
    save_steps(tmp_path, 2)
    with pytest.raises(UserError, match="no checkpoint of step 7; there are 1, 2"):
        find_step(tmp_path, 7)
