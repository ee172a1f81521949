"""All that changes in training: what a checkpoint stores, and where it lives."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from querypose_jax.devices import sharding
from querypose_jax.errors import UserError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that changes in training. `shardings` says where it lives."""

    step: Int[Array, ""]
    """Steps done so far, those whose update was skipped included."""
    params: nnx.State
    """What the optimizer moves: the model's nnx.Param variables without those of optimizer.freeze, and nothing else."""
    rest: nnx.State
    """Running statistics and weights that do not train."""
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


def trainable(freeze: str = "") -> nnx.filterlib.Filter:
    """Which variables train: the parameters, without those in whose path the regular expression `freeze` is found."""
    if not freeze:
        return nnx.Param
    frozen = re.compile(freeze)
    return nnx.All(nnx.Param, lambda path, _: not frozen.search(".".join(map(str, path))))


def init_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, averages: bool = False, freeze: str = ""
) -> tuple[nnx.GraphDef, TrainState]:
    """Takes a freshly built model apart; returns its structure and the state of step 0, with `averages` or without.

    Raises:
        UserError: no parameter is in `freeze`, or all are.
    """
    graphdef, params, rest = nnx.split(model, trainable(freeze), ...)
    if freeze and (not jax.tree.leaves(params) or not jax.tree.leaves(nnx.filter_state(rest, nnx.Param))):
        all_or_none = "no parameter" if jax.tree.leaves(params) else "every parameter"
        raise UserError(
            f"config.optimizer.freeze={freeze!r} is found in the path of {all_or_none}; say which are to stay"
        )
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
