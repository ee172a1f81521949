"""Adam with decoupled or L2 decay, global-norm clipping, warm-up, schedules, rate factors by path."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from querypose_jax.errors import UserError

BETA1, BETA2, ADAM_EPS = 0.9, 0.999, 1e-8
NAMES, SCHEDULES = ("adamw", "adam"), ("steps", "cosine")
CLIP_EPS = 1e-6  # added to the norm before dividing, as in PyTorch's clip_grad_norm_


def learning_rate(config: ConfigDict, num_steps: int) -> optax.Schedule:
    """The learning rate of step t, t counted from 0.

    Warm-up: factor warmup_factor * (1 - t/T) + t/T for t < T = warmup_steps. Then either "steps" (from the step of each
    milestone on its factor of the base rate, official) or "cosine" (from 1 at the end of the warm-up to final_factor at
    num_steps).

    Args:
        config: the optimizer group of the configuration.
        num_steps: steps of the whole run (the end of the cosine).

    Raises:
        UserError: unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise UserError(f"optimizer.schedule is {config.schedule!r}; known: {', '.join(SCHEDULES)}")

    def schedule(step: int | Array) -> Array:
        t = jnp.asarray(step).astype(jnp.result_type(float))  # float64 where x64 is enabled
        if config.schedule == "steps":
            factor = factor_of(t, config.milestones)
        else:
            length = max(num_steps - config.warmup_steps, 1)  # a trial run may end inside the warm-up
            progress = jnp.clip((t - config.warmup_steps) / length, 0, 1)
            factor = config.final_factor + (1 - config.final_factor) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        warm = jnp.minimum(t / max(config.warmup_steps, 1), 1)
        ramp = config.warmup_factor * (1 - warm) + warm if config.warmup_steps else 1.0
        return config.learning_rate * ramp * factor

    return schedule


def factor_of(t: Float[Array, ""], milestones: Sequence[tuple[int, float]]) -> Float[Array, ""]:
    """The factor of the last milestone (step, factor) that step t has come to; 1 before the first.

    As a power of 0.1, which keeps the bits of runs whose rate is divided by ten at each milestone: in float32 0.1**2
    is not 0.01.
    """
    power = jnp.zeros_like(t)
    for step, factor in milestones:
        power = jnp.where(t >= step, -math.log10(factor), power)
    return 0.1**power


def make_optimizer(config: ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """Clip, Adam, decay, rate; works on any pytree of float32 or float64 parameters.

    "adamw" decays parameters apart from their gradients (Loshchilov and Hutter 2019), "adam" adds the decay to the
    clipped gradients, as torch.optim.Adam does. Parameters whose path contains a text of `rate_factors` move that many
    times as fast; as with PyTorch's parameter groups the factor scales their decay too. The state is laid out alike
    whatever the configuration says.

    Raises:
        UserError: unknown optimizer or schedule.
    """
    if config.name not in NAMES:
        raise UserError(f"optimizer.name is {config.name!r}; known: {', '.join(NAMES)}")
    clip = clip_by_norm(config.clip_norm) if config.clip_norm else optax.identity()
    decay = optax.add_decayed_weights(config.weight_decay)
    is_decoupled = config.name == "adamw"
    inner = optax.chain(
        clip if is_decoupled else optax.chain(clip, decay),
        scale_by_adam(),
        decay if is_decoupled else optax.identity(),
        optax.scale_by_learning_rate(learning_rate(config, num_steps)),
    )
    return optax.chain(with_vectors_joined(inner), scale_by_path(dict(config.rate_factors)))


def scale_by_adam() -> optax.GradientTransformation:
    """Adam's moves without the rate (Kingma and Ba 2015), with optax's state.

    PyTorch forms 1 - beta^t in float64. In float32 the difference is 1e-5 of itself off for the whole run's beginning,
    and all moves with it; expm1 keeps all digits.
    """

    def update(grads: PyTree, state: optax.ScaleByAdamState, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        count = optax.safe_increment(state.count)
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, state.mu, grads)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * jnp.square(g), state.nu, grads)
        of_first, of_second = (-jnp.expm1(count * math.log(beta)) for beta in (BETA1, BETA2))

        def move(m: Array, v: Array) -> Array:
            return m / of_first.astype(m.dtype) / (jnp.sqrt(v / of_second.astype(v.dtype)) + ADAM_EPS)

        return jax.tree.map(move, first, second), optax.ScaleByAdamState(count, first, second)

    return optax.GradientTransformation(optax.scale_by_adam(BETA1, BETA2, ADAM_EPS).init, update)


class Joined(NamedTuple):
    """A tree whose vectors and scalars are one long vector."""

    vectors: Float[Array, " _"]
    arrays: PyTree
    """The tree with None in their places."""


def join_vectors(tree: PyTree[Float[Array, "..."]]) -> Joined:
    """The tree with all vectors and scalars in one vector, in the order of its leaves; of one type.

    Biases, norms and running statistics are most of a model's leaves and next to none of its numbers: joined, an
    operation over the tree is one for all of them, in programs to compile and on accelerators to start.
    """
    leaves, structure = jax.tree.flatten(tree)
    vectors = [x.ravel() for x in leaves if x.ndim <= 1]
    arrays = jax.tree.unflatten(structure, [None if x.ndim <= 1 else x for x in leaves])
    return Joined(jnp.concatenate(vectors) if vectors else jnp.zeros(0), arrays)


def part_vectors(joined: Joined, like: PyTree) -> PyTree:
    """The tree again; `like` has its structure, shapes and types."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([0] + [x.size for x in leaves if x.ndim <= 1])
    vectors = (joined.vectors[start:end] for start, end in itertools.pairwise(ends))
    arrays = iter(jax.tree.leaves(joined.arrays))
    parted = [next(vectors).reshape(x.shape).astype(x.dtype) if x.ndim <= 1 else next(arrays) for x in leaves]
    return jax.tree.unflatten(structure, parted)


def with_vectors_joined(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same updates, and a state in which all vectors of a kind are one array."""

    def update(grads: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        joined_params = None if params is None else join_vectors(params)
        updates, state = inner.update(join_vectors(grads), state, joined_params)
        return part_vectors(updates, grads), state

    return optax.GradientTransformation(lambda params: inner.init(join_vectors(params)), update)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """L2 norm over all leaves, accumulated in at least float32."""
    leaves = jax.tree.leaves(join_vectors(tree))
    squares = [jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))) for x in leaves]
    return jnp.sqrt(summed(squares))


def summed(scalars: Sequence[Float[Array, ""]]) -> Float[Array, ""]:
    """Their sum, for what every leaf of a large tree reads.

    Written as a product: XLA's CPU compiler copies sums, however long, into all that reads them, and takes minutes
    where a thousand numbers go into a thousand updates. Products it computes once.
    """
    stacked = jnp.stack(scalars)
    return jnp.dot(stacked, jnp.ones_like(stacked), precision="highest")


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Scales all gradients by min(1, max_norm / (norm + 1e-6)). optax's own rule lacks the 1e-6."""

    def clip(grads: PyTree, params: PyTree | None = None) -> PyTree:
        factor = jnp.minimum(1, max_norm / (global_norm(grads) + CLIP_EPS))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)

    return optax.stateless(clip)


def scale_by_path(factors: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of every parameter whose path contains a key of `factors` by its value."""

    def scale(path: tuple, update: Array) -> Array:
        name = jax.tree_util.keystr(path)
        for key, factor in factors.items():
            if key in name:
                update = update * factor
        return update

    return optax.stateless(lambda updates, params=None: jax.tree_util.tree_map_with_path(scale, updates))
