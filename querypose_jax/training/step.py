"""One training step as a pure function: gradients, update, running statistics."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from querypose_jax.structures import Batch
from querypose_jax.training import sharding
from querypose_jax.training.optimizer import global_norm

Metrics = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that changes in training. Replicated over the mesh."""

    step: Int[Array, ""]
    """Updates done so far."""
    params: nnx.State
    """What the optimizer moves: the model's nnx.Param variables and nothing else."""
    rest: nnx.State
    """Running statistics and frozen weights."""
    opt_state: optax.OptState

    @property
    def model(self) -> nnx.State:
        """The model's whole state, as `nnx.merge(graphdef, state.model)` takes it."""
        return nnx.merge_state(self.params, self.rest)


def init_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> tuple[nnx.GraphDef, TrainState]:
    """Takes a freshly built model apart; returns its structure and the state of step 0."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = jax.tree.map(jnp.copy, (params, rest))  # initialisers may share arrays; donated ones must not
    return graphdef, TrainState(jnp.zeros((), jnp.int32), params, rest, optimizer.init(params))


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, schedule: optax.Schedule, mesh: Mesh
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Compiles `step(state, batch) -> (state, metrics)`; the old state's memory is reused.

    Metrics are scalars of this very step, before its update: `loss/total`, `loss/<term>`, `grad_norm` (before
    clipping), `learning_rate`.
    """

    def losses(params: nnx.State, rest: nnx.State, batch: Batch):
        model = nnx.merge(graphdef, params, rest, copy=True)  # its own variables: the forward pass changes statistics
        total, terms = model.loss(model(batch, train=True), batch)
        return total, (terms, nnx.state(model, nnx.Not(nnx.Param)))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads_of = jax.value_and_grad(losses, has_aux=True)
        (total, (terms, rest)), grads = grads_of(state.params, state.rest, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {f"loss/{name}": value for name, value in terms.items()}
        metrics |= {"loss/total": total, "grad_norm": global_norm(grads), "learning_rate": schedule(state.step)}
        return TrainState(state.step + 1, params, rest, opt_state), metrics

    everywhere = sharding.replicated(mesh)
    return jax.jit(
        step,
        in_shardings=(everywhere, sharding.split_batch(mesh)),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )
