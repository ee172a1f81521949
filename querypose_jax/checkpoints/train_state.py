"""All that changes in training: what a checkpoint stores, and where it lives."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from querypose_jax.devices import sharding


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that changes in training. `shardings` says where it lives."""

    step: Int[Array, ""]
    """Steps done so far, those whose update was skipped included."""
    params: nnx.State
    """What the optimizer moves: the model's nnx.Param variables and nothing else."""
    rest: nnx.State
    """Running statistics and frozen weights."""
    opt_state: optax.OptState
    ema: nnx.State | None = None
    """Exponential moving average of `params` in at least float32; None where train.ema_decay is 0."""

    @property
    def model(self) -> nnx.State:
        """The model's whole state, as `nnx.merge(graphdef, state.model)` takes it."""
        return nnx.merge_state(self.params, self.rest)

    @property
    def averaged(self) -> nnx.State | None:
        """The same with the averages of its parameters; running statistics are averages already, and come as they are.

        None where there are no averages.
        """
        if self.ema is None:
            return None
        params = jax.tree.map(lambda average, p: average.astype(p.dtype), self.ema, self.params)
        return nnx.merge_state(params, self.rest)


def init_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, averages: bool = False
) -> tuple[nnx.GraphDef, TrainState]:
    """Takes a freshly built model apart; returns its structure and the state of step 0, with `averages` or without."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = jax.tree.map(jnp.copy, (params, rest))  # initialisers may share arrays; donated ones must not
    ema = first_average(params) if averages else None
    return graphdef, TrainState(jnp.zeros((), jnp.int32), params, rest, optimizer.init(params), ema)


def first_average(params: nnx.State) -> nnx.State:
    """Where a moving average begins: the parameters, copied, in at least float32; placed as they are."""
    return jax.tree.map(lambda p: jnp.copy(p).astype(jnp.promote_types(p.dtype, jnp.float32)), params)


def shardings(state: TrainState, rule: str, mesh: Mesh) -> TrainState:
    """Where each array of a state (or its shape) lives under a rule of sharding.RULES."""
    return TrainState(
        step=sharding.replicated(mesh),
        params=sharding.shardings(state.params, "parameters", rule, mesh),
        rest=sharding.shardings(state.rest, "rest", rule, mesh),
        opt_state=sharding.shardings(state.opt_state, "optimizer", rule, mesh),
        ema=sharding.shardings(state.ema, "parameters", rule, mesh),
    )
