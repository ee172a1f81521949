"""One step of a run again: the same state, batch and random key, and what in it is not finite.

The state before a step is that of the last checkpoint before it, moved on by the steps between: on the same devices the
bits are those of the run.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import load_before, named_leaves
from querypose_jax.checkpoints.names import Names
from querypose_jax.checkpoints.train_state import TrainState
from querypose_jax.devices import sharding
from querypose_jax.errors import UserError
from querypose_jax.structures import Batch
from querypose_jax.training.bad_steps import last_bad_step
from querypose_jax.training.build import build
from querypose_jax.training.loop import first_state, next_batch
from querypose_jax.training.step import Gradients, Metrics, make_gradients

PARTS = ("parameters", "moments", "statistics", "gradients")
Found = dict[str, tuple[int, int, float]]  # name -> numbers, of which not finite, the largest of the others


def replay(
    config: ConfigDict,
    batches: Callable[[int], Iterator[Batch]],
    workdir: str | Path,
    step: int | None = None,
    fingerprint: str = "",
    names: Names | None = None,
    weights: Path | None = None,
) -> str:
    """Runs one step of a run again; writes nothing.

    In one process, whatever the run had: the whole batch must fit on its devices.

    Args:
        config: that of the run. With another model.dtype, say, the step shows whether that is to blame.
        batches, names, weights: as in loop.train.
        workdir: of the run.
        step: from 1; None: the one that ended the run, from bad_step.json.
        fingerprint: of the data; a step is only replayed on the data of its run.

    Returns:
        A text: losses, and by groups of arrays what is not finite in inputs, state and gradients.

    Raises:
        UserError: there is no such step, the data or the model are not those of the run.
    """
    workdir = Path(workdir)
    step = last_bad_step(workdir) if step is None else step
    if step < 1:
        raise UserError(f"--step={step}: steps count from 1")
    mesh, graphdef, state, train_step = build(config)
    with jax.set_mesh(mesh):
        loaded = load_before(workdir, step, state)
        if loaded is None:
            state, *_ = first_state(config, state, weights, names)
        else:
            state, about = loaded
            if about["data"] != fingerprint:
                raise UserError(f"{workdir} was trained on other data (fingerprint {about['data']}, now {fingerprint})")
        start = int(state.step)
        source = batches(start)
        for number in range(start + 1, step):
            state, metrics = train_step(state, sharding.put_batch(next_batch(source, number), mesh))
            jax.block_until_ready(metrics)  # else batches pile up
        batch = next_batch(source, step)
        placed = sharding.put_batch(batch, mesh)
        given = config.mesh.parameters, config.train.seed, config.optimizer.freeze, config.train.accumulate
        found = look_inside(make_gradients(graphdef, mesh, *given), state, placed)
        _, metrics = train_step(state, placed)
        metrics = jax.device_get(metrics)
    since = f"the checkpoint of step {start}" if loaded else "the start"
    return "\n".join(
        [
            f"step {step} of {workdir}, from {since}; seed {config.train.seed}; pictures "
            + ", ".join(map(str, np.asarray(batch.image_id).tolist())),
            *told_metrics(metrics),
            *told_inputs(batch),
            *(line for part in PARTS for line in told_part(part, found[part])),
        ]
    )


def look_inside(gradients: Gradients, state: TrainState, batch: Batch) -> dict[str, Found]:
    """What is not finite: in the state before a step, in what the forward pass leaves behind, and in the gradients."""

    @jax.jit
    def counted(state: TrainState, batch: Batch) -> dict[str, dict[str, tuple[Array, Array]]]:
        _, _, grads, rest = gradients(state, batch)
        statistics = nnx.filter_state(rest, nnx.BatchStat)
        parts = {"parameters": state.params, "moments": state.opt_state, "statistics": statistics, "gradients": grads}
        return {part: count(tree) for part, tree in parts.items()}

    return {
        part: {name: (int(size), int(bad), float(largest)) for name, (size, bad, largest) in numbers.items()}
        for part, numbers in jax.device_get(counted(state, batch)).items()
    }


def count(tree: PyTree) -> dict[str, tuple[int, Array, Array]]:
    """Of each array of floating-point numbers: its size, how many are not finite, the largest absolute other one."""
    counted = {}
    for name, x in named_leaves(tree).items():
        if jnp.issubdtype(x.dtype, jnp.floating):
            good = jnp.isfinite(x)
            largest = jnp.max(jnp.where(good, jnp.abs(x), 0), initial=0)
            counted[name] = (x.size, jnp.sum(~good), largest.astype(jnp.float32))
    return counted


def told_metrics(metrics: Metrics) -> list[str]:
    """A line with the losses, one with what became of the step."""
    losses = ", ".join(f"{name} {float(metrics[name]):g}" for name in sorted(metrics) if name != "skipped")
    verdict = "not finite: its update was skipped" if bool(metrics["skipped"]) else "finite: its update was made"
    return [f"  {losses}", f"  this step is {verdict}"]


def told_inputs(batch: Batch) -> list[str]:
    """A line per field of the batch that is not finite, with the ids of the pictures; one line where all are."""
    lines = []
    for name in (field.name for field in fields(batch)):
        x = np.asarray(getattr(batch, name))
        if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
            bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
            ids = ", ".join(map(str, np.asarray(batch.image_id)[bad].tolist()))
            lines.append(f"  {name}: {int((~np.isfinite(x)).sum())} of {x.size} not finite, pictures {ids}")
    return ["inputs", *(lines or ["  all finite"])]


def told_part(part: str, numbers: Found) -> list[str]:
    """A line per group of arrays, e.g. `backbone` or `box_decoders.0`."""
    groups: dict[str, Found] = {}
    for name, counted in numbers.items():
        groups.setdefault(group_of(name), {})[name] = counted
    lines = []
    for group, members in sorted(groups.items()):
        bad = [name for name, (_, not_finite, _) in members.items() if not_finite]
        largest = max(value for _, _, value in members.values())
        if bad:
            size, not_finite = (sum(counted[i] for counted in members.values()) for i in (0, 1))
            which = f"{not_finite} of {size} not finite, in {len(bad)} of {len(members)} arrays ({bad[0]}, ...)"
        else:
            which = "all finite"
        lines.append(f"  {group}: {which}, the largest {largest:.3g}")
    return [part, *lines]


def group_of(name: str) -> str:
    """`backbone` of backbone.stem.kernel, box_decoders.0 of box_decoders.0.norm.scale; with what precedes it."""
    parts = name.split(".")
    head = next((i for i, part in enumerate(parts) if not part.isdigit() and part not in ("mu", "nu", "arrays")), 0)
    end = head + (2 if len(parts) > head + 1 and parts[head + 1].isdigit() else 1)
    return ".".join(parts[:end])
