import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import coco_r50, synthetic_tiny
from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.errors import UserError
from querypose_jax.training.optimizer import (
    clip_by_norm,
    global_norm,
    join_vectors,
    learning_rate,
    make_optimizer,
    part_vectors,
    scale_by_adam,
)


def test_official_schedule_at_hand_worked_steps():
    config = coco_r50.get_config().optimizer
    schedule = learning_rate(config, 140_000)
    rate = 2.5e-5
    expected = {
        0: 0.01 * rate,
        500: (0.01 * 0.5 + 0.5) * rate,
        999: (0.01 * 0.001 + 0.999) * rate,
        1000: rate,
        109_999: rate,
        110_000: 0.1 * rate,
        129_999: 0.1 * rate,
        130_000: 0.01 * rate,
    }
    for step, value in expected.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-5, err_msg=f"step {step}")


@pytest.mark.parametrize("x64", [False, True])
def test_factors_of_ten_have_the_bits_of_powers_of_a_tenth(x64):
    config = coco_r50.get_config().optimizer
    config.milestones = ((110_000, 0.1), (130_000, 0.01), (135_000, 0.001))
    with jax.enable_x64(x64):
        schedule = jax.jit(learning_rate(config, 140_000))

        @jax.jit
        def counted(step):
            """The rate that is divided by ten at each milestone, as powers."""
            t = jnp.asarray(step).astype(jnp.result_type(float))
            passed = sum(((t >= m).astype(t.dtype) for m, _ in config.milestones), start=jnp.zeros_like(t))
            warm = jnp.minimum(t / 1000, 1)
            return config.learning_rate * (0.01 * (1 - warm) + warm) * 0.1**passed

        for step in (0, 999, 50_000, 109_999, 110_000, 129_999, 130_000, 135_000, 139_999):
            assert float(schedule(jnp.int32(step))) == float(counted(jnp.int32(step))), step


def test_a_schedule_of_absolute_factors_goes_up_again():
    config = coco_r50.get_config().optimizer
    # SimplePose V2: epochs 65, 70, 75, 78, 92 and 105 of its release, here as steps.
    milestones = ((65, 0.2), (70, 0.04), (75, 0.008), (78, 1.0), (92, 0.1), (105, 0.01))
    config.update(learning_rate=5e-4, warmup_steps=0, milestones=milestones)
    schedule = learning_rate(config, 110)
    for step in range(110):
        factor = next((f for start, f in reversed(milestones) if step >= start), 1.0)
        np.testing.assert_allclose(schedule(step), 5e-4 * factor, rtol=1e-6, err_msg=f"step {step}")
    assert schedule(64) == schedule(78) == np.float32(5e-4)
    config.milestones = ()
    assert learning_rate(config, 110)(10**6) == np.float32(5e-4)


def test_cosine_starts_at_the_end_of_the_warm_up_and_ends_at_the_final_factor():
    config = synthetic_tiny.get_config().optimizer
    schedule = learning_rate(config, 3000)
    np.testing.assert_allclose(schedule(config.warmup_steps), 1e-3, rtol=1e-6)
    np.testing.assert_allclose(schedule((config.warmup_steps + 3000) // 2), 1e-3 * (1 + 0.01) / 2, rtol=1e-5)
    np.testing.assert_allclose(schedule(3000), 1e-5, rtol=1e-5)


def test_a_trial_run_may_end_inside_the_warm_up():
    config = synthetic_tiny.get_config().optimizer
    np.testing.assert_allclose(learning_rate(config, 3)(45), 1e-3 * (0.01 * 0.5 + 0.5), rtol=1e-5)


def test_an_unknown_schedule_is_one_line():
    config = synthetic_tiny.get_config().optimizer
    config.schedule = "linear"
    with pytest.raises(UserError, match="'linear'; known: steps, cosine"):
        learning_rate(config, 50)


def test_an_unknown_optimizer_is_one_line():
    config = synthetic_tiny.get_config().optimizer
    config.name = "sgd"
    with pytest.raises(UserError, match="'sgd'; known: adamw, adam"):
        make_optimizer(config, 50)


def test_clipping_divides_by_the_norm_plus_epsilon():
    grads = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}
    assert float(global_norm(grads)) == 5.0
    with jax.enable_x64(True):
        grads = jax.tree.map(lambda g: jnp.asarray(g, jnp.float64), grads)
        clipped, _ = clip_by_norm(1.0).update(grads, clip_by_norm(1.0).init(grads))
        np.testing.assert_allclose(clipped["a"][0], 3 / (5 + 1e-6), rtol=1e-12)
    small = {"a": jnp.asarray([0.3])}
    unclipped, _ = clip_by_norm(1.0).update(small, clip_by_norm(1.0).init(small))
    assert unclipped["a"] == small["a"]


def adam_by_hand(
    params: dict, grads_of_step: list[dict], rates: list[float], factors: dict, config: ConfigDict
) -> dict:
    """AdamW and Adam as PyTorch documents them; one group per tensor; float64."""
    params = {name: value.copy() for name, value in params.items()}
    mean = {name: np.zeros_like(value) for name, value in params.items()}
    square = {name: np.zeros_like(value) for name, value in params.items()}
    for t, (grads, rate) in enumerate(zip(grads_of_step, rates, strict=True), start=1):
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        clip = min(1, config.clip_norm / (norm + 1e-6)) if config.clip_norm else 1
        for name, grad in grads.items():
            grad = grad * clip
            lr = rate * factors[name]
            if config.name == "adamw":
                params[name] *= 1 - lr * config.weight_decay
            else:
                grad = grad + config.weight_decay * params[name]
            mean[name] = 0.9 * mean[name] + 0.1 * grad
            square[name] = 0.999 * square[name] + 0.001 * grad**2
            denominator = np.sqrt(square[name]) / np.sqrt(1 - 0.999**t) + 1e-8
            params[name] -= lr / (1 - 0.9**t) * mean[name] / denominator
    return params


@pytest.mark.parametrize(
    ("name", "decay", "clip_norm"), [("adamw", 1e-4, 1.0), ("adamw", 0.1, 0.0), ("adam", 0.1, 1.0), ("adam", 0.0, 0.0)]
)
def test_twenty_steps_equal_those_worked_out_by_hand_in_float64(name, decay, clip_norm):
    rng = np.random.default_rng(0)
    shapes = {"head": (3, 4), "flow": (5,), "backbone": (2, 2)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(20)]
    config = coco_r50.get_config().optimizer
    config.update(name=name, weight_decay=decay, clip_norm=clip_norm, learning_rate=1e-2)
    config.update(warmup_steps=8, milestones=((12, 0.1), (16, 0.5)), rate_factors=(("flow", 10.0), ("backbone", 0.5)))

    with jax.enable_x64(True):
        optimizer, schedule = make_optimizer(config, 20), learning_rate(config, 20)
        ours = jax.tree.map(jnp.asarray, params)
        state = optimizer.init(ours)
        for grads in gradients:
            updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, ours)
            ours = jax.tree.map(jnp.add, ours, updates)
        rates = [float(schedule(t)) for t in range(20)]

    factors = {"head": 1.0, "flow": 10.0, "backbone": 0.5}
    expected = adam_by_hand(params, gradients, rates, factors, config)
    for part in shapes:
        assert ours[part].dtype == jnp.float64
        np.testing.assert_allclose(ours[part], expected[part], rtol=1e-10, err_msg=part)


def test_the_state_is_laid_out_alike_whatever_the_configuration_says():
    config, params = coco_r50.get_config().optimizer, {"head": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    expected = named_leaves(make_optimizer(config, 20).init(params)).keys()
    for changes in ({"name": "adam"}, {"clip_norm": 0.0}, {"name": "adam", "weight_decay": 0.0, "clip_norm": 0.0}):
        config.update(changes)
        assert named_leaves(make_optimizer(config, 20).init(params)).keys() == expected


def test_joined_vectors_come_apart_again():
    tree = {"a": jnp.arange(3.0), "b": {"kernel": jnp.ones((2, 2)), "scale": jnp.asarray(7.0)}, "c": jnp.zeros(0)}
    joined = join_vectors(tree)
    assert joined.vectors.tolist() == [0, 1, 2, 7]
    assert [x.shape for x in jax.tree.leaves(joined.arrays)] == [(2, 2)]
    again = part_vectors(joined, tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, again, tree)
    assert [x.shape for x in jax.tree.leaves(again)] == [(3,), (2, 2), (), (0,)]


def test_a_tree_without_vectors_joins_to_none():
    joined = join_vectors({"kernel": jnp.ones((2, 2))})
    assert joined.vectors.size == 0
    assert part_vectors(joined, {"kernel": jnp.ones((2, 2))})["kernel"].sum() == 4


def test_moves_of_adam_are_those_of_float64_to_the_last_digits_of_float32():
    """From the first step on, where 1 - 0.999^t is small: formed in float32 it would be 1e-5 of itself off."""
    grads = np.random.default_rng(0).normal(size=(20, 3, 4)).astype(np.float32)
    optimizer = scale_by_adam()
    state = optimizer.init(jnp.zeros((3, 4)))
    first = second = np.zeros((3, 4))
    for t, grad in enumerate(grads, 1):
        moves, state = optimizer.update(jnp.asarray(grad), state)
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * np.square(grad, dtype=np.float64)
        expected = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(moves, expected, rtol=0, atol=5e-7, err_msg=f"step {t}")
