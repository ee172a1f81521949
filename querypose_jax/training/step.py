"""One training step as a pure function: gradients, update, moving averages, running statistics.

A step whose loss, gradients or running statistics are not finite changes nothing but the step number."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, PyTree

from querypose_jax.checkpoints.train_state import TrainState, shardings, trainable
from querypose_jax.devices import sharding
from querypose_jax.structures import Batch, Whole
from querypose_jax.training.optimizer import global_norm, join_vectors, summed

Metrics = dict[str, Array]
TrainStep = Callable[["TrainState", Batch], tuple["TrainState", Metrics]]
Gradients = Callable[["TrainState", Batch], tuple[Array, dict[str, Array], nnx.State, nnx.State]]


def make_gradients(
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    rule: str = "replicated",
    seed: int = 0,
    freeze: str = "",
    accumulate: int = 1,
) -> Gradients:
    """`gradients(state, batch) -> (total loss, loss terms, gradients, what the forward pass leaves in state.rest)`.

    Not compiled. What a model draws in a step (drop path) follows from `seed` and the step alone: a run resumes to
    the bit. `freeze` as in `train_state.trainable`.

    With `accumulate` above 1 so many micro-batches, a part of every device's pictures each, are worked through one
    after the other in the memory of one. Their losses are divided by the people of the whole batch, so that sums are
    those of the whole batch to rounding; what is drawn is drawn for each micro-batch anew. For models that keep no
    running statistics: `state.rest` comes back as it is.
    """
    splits_parameters = "parameters" in sharding.RULES[rule] and mesh.shape["fsdp"] > 1

    def losses(params: nnx.State, rest: nnx.State, batch: Batch, key: Array):
        if splits_parameters:
            params = sharding.gather_parameters(params, mesh)
        model = nnx.merge(graphdef, params, rest, copy=True)  # its own variables: the forward pass changes statistics
        total, terms = model.loss(model(batch, train=True, key=key), batch)
        return total, (terms, nnx.state(model, nnx.Not(trainable(freeze))))

    def of_batch(state: TrainState, batch: Batch, key: Array):
        forward = losses
        if splits_parameters:
            forward = jax.checkpoint(losses, policy=sharding.keep_all_but_gathered)
        grads_of = jax.value_and_grad(forward, has_aux=True)
        (total, (terms, rest)), grads = grads_of(state.params, state.rest, batch, key)
        # A rule that splits the optimizer splits what it reads: gradients are summed to where their moments are.
        return total, terms, sharding.constrain(grads, "optimizer", rule, mesh), rest

    def gradients(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        if accumulate == 1:
            return of_batch(state, batch, key)
        whole = Whole(batch.is_person.sum(), len(batch.image_id))

        def of_part(number: Array, part: Batch):
            return of_batch(state, replace(part, whole=whole), jax.random.fold_in(key, number))[:3]

        numbers, parts = jnp.arange(accumulate), split_micro(batch, accumulate, mesh)
        shapes = jax.eval_shape(of_part, numbers[0], jax.tree.map(lambda x: x[0], parts))
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        sums, _ = jax.lax.scan(
            lambda sums, given: (jax.tree.map(jnp.add, sums, of_part(*given)), None), nothing, (numbers, parts)
        )
        return *sums, state.rest

    return gradients


def split_micro(batch: Batch, accumulate: int, mesh: Mesh) -> Batch:
    """A batch as `accumulate` micro-batches (a leading axis), each an equal part of what every device has of it."""
    place = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names))

    def split(x: Array) -> Array:
        rows = x.shape[0] // (mesh.size * accumulate)
        parts = x.reshape(mesh.size, accumulate, rows, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(parts.reshape(accumulate, -1, *x.shape[1:]), place)

    return jax.tree.map(split, batch)


def make_train_step(
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    rule: str = "replicated",
    seed: int = 0,
    ema_decay: float = 0.0,
    freeze: str = "",
    accumulate: int = 1,
) -> TrainStep:
    """Compiles `step(state, batch) -> (state, metrics)`; the old state's memory is reused.

    The state must come, and goes, where `shardings(state, rule, mesh)` puts it. Where the loss, the norm of the
    gradients or a running statistic is NaN or infinite, parameters, their averages, moments and statistics stay as
    they were; the step number and the learning rate's schedule move on. The device decides: the host reads nothing for
    it. A state without averages gets none, whatever `ema_decay` is.

    Metrics are scalars of this very step, before its update: `loss/total`, `loss/<term>`, `grad_norm` (before
    clipping), `learning_rate`, `skipped` (True: no update). `accumulate`: see `make_gradients`.
    """
    gradients = make_gradients(graphdef, mesh, rule, seed, freeze, accumulate)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        total, terms, grads, rest = gradients(state, batch)
        norm = global_norm(grads)
        is_good = all_finite((total, norm, nnx.filter_state(rest, nnx.BatchStat)))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = None if state.ema is None else moved_average(state.ema, params, ema_decay)
        metrics = {f"loss/{name}": value for name, value in terms.items()}
        metrics |= {"loss/total": total, "grad_norm": norm, "learning_rate": schedule(state.step), "skipped": ~is_good}
        new = TrainState(
            step=state.step + 1,
            params=choose(is_good, params, state.params),
            rest=choose(is_good, rest, state.rest),
            opt_state=choose(is_good, opt_state, state.opt_state),
            ema=choose(is_good, ema, state.ema),
        )
        return jax.lax.with_sharding_constraint((new, metrics), (shardings(new, rule, mesh), everywhere))

    everywhere = sharding.replicated(mesh)
    return jax.jit(step, in_shardings=(None, sharding.split_batch(mesh)), donate_argnums=0)


def moved_average(ema: nnx.State, params: nnx.State, decay: float) -> nnx.State:
    """ema + (1 - decay) (params - ema), in the type of the average."""
    return jax.tree.map(lambda e, p: e + (1 - decay) * (p.astype(e.dtype) - e), ema, params)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether no number of a tree is NaN or infinite."""
    floats = jax.tree.leaves(join_vectors([x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]))
    return summed([(~jnp.isfinite(leaf)).any().astype(jnp.float32) for leaf in floats]) == 0


def choose(is_good: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """The new tree, or the old one; the count of a schedule is new in any case: it goes by steps, not by updates."""

    def one(new: PyTree, old: PyTree) -> PyTree:
        if isinstance(new, optax.ScaleByScheduleState):
            return new
        return jax.tree.map(lambda n, o: jnp.where(is_good, n, o), new, old)

    return jax.tree.map(one, new, old, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState))
