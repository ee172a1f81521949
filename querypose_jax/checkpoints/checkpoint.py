"""A checkpoint on disk: its format, reading and writing one. With rotation.py the only file that knows orbax.

DIR/checkpoints/STEP holds up to four items: `model` (every variable of the model under its dotted path), `training`
(the optimizer's state, absent in imported weights), `ema` (moving averages of the parameters, where the run keeps them)
and `about` (JSON: step, hashes, code version). Whoever wants a model gets the averages unless `raw` says otherwise.
Arrays are stored by name, so that a mismatch can be told in words and any mesh can read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

import querypose_jax
from querypose_jax.checkpoints.config_json import model_hash, read_config, write_config
from querypose_jax.checkpoints.train_state import TrainState, first_average
from querypose_jax.errors import UserError
from querypose_jax.models.registry import abstract_model

FOLDER = "checkpoints"
ARRAY_ITEMS = ("model", "training", "ema")


def load_model(
    directory: str | Path,
    step: int | None = None,
    config: ConfigDict | None = None,
    sharding: Sharding | None = None,
    raw: bool = False,
) -> tuple[ConfigDict, nnx.GraphDef, nnx.State]:
    """Loads the model of a run or of imported weights; `nnx.merge(graphdef, state)` gives the module.

    Args:
        directory: holds config.json and checkpoints/.
        step: which checkpoint; None = the newest.
        config: what to build instead of the configuration in config.json.
        sharding: where to put the arrays; default: this process's first device.
        raw: the parameters as the optimizer left them, where the run keeps moving averages.

    Returns:
        configuration, structure, state.

    Raises:
        UserError: nothing there, no such step, or the checkpoint of another model.
    """
    directory = Path(directory)
    config = read_config(directory) if config is None else config
    graphdef, abstract = abstract_model(config)
    with _existing(directory, step) as (manager, found):
        arrays = _read_model(manager, found, _placed(named_leaves(abstract), sharding), _where(directory, found), raw)
    return config, graphdef, _fill(abstract, arrays)


def has_averages(directory: Path, step: int) -> bool:
    """Whether the checkpoint of a step holds moving averages; raises UserError where there is none."""
    with _existing(directory, step) as (manager, found):
        return "ema" in _saved_shapes(manager, found)


def finished_steps(directory: Path) -> list[int]:
    """The steps of the finished checkpoints by the names of their folders, ascending."""
    names = [path.name for path in directory.glob(f"{FOLDER}/*")]
    return sorted(int(name) for name in names if name.isdigit())


def newest_step(directory: Path) -> int | None:
    """The step of the newest finished checkpoint, None where there is none."""
    return max(finished_steps(directory), default=None)


def find_step(directory: str | Path, step: int | None = None) -> int:
    """The step of the newest checkpoint, or `step` itself if it is there; raises UserError otherwise."""
    with _existing(Path(directory), step) as (_, found):
        return found


def load_about(directory: Path, step: int | None = None) -> dict[str, Any]:
    """The facts that were saved with a checkpoint; raises UserError as `find_step` does."""
    with _existing(directory, step) as (manager, found):
        return read_about(manager, found)


def load_before(directory: Path, step: int, state: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest checkpoint of a step below `step`, placed as `state` is, with its facts; None where there is none.

    Only reads: the run may be going on.

    Raises:
        UserError: it belongs to another model, or holds imported weights.
    """
    earlier = [found for found in finished_steps(directory) if found < step]
    if not earlier:
        return None
    with _existing(directory, max(earlier)) as (manager, found):
        return restore_state(manager, found, state, directory), read_about(manager, found)


def load_arrays(directory: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a checkpoint under `model.NAME`, `training.NAME` and `ema.NAME`, for comparing two of them.

    Raises:
        UserError: nothing there, or no such step.
    """
    arrays: dict[str, np.ndarray] = {}
    with _existing(directory, step) as (manager, found):
        metadata = manager.item_metadata(found)
        for item, names in _saved_shapes(manager, found).items():
            wanted = _placed({name: metadata[item][name] for name in names}, None)
            read = _read(manager, found, item, wanted, names, _where(directory, found))
            arrays |= {f"{item}.{name}": np.asarray(array) for name, array in read.items()}
    return arrays


def load_weights(directory: str | Path, model: nnx.State, raw: bool = False) -> dict[str, Array]:
    """Every array of saved weights, for a fresh model: placed as its own of that name and shape, others everywhere.

    Weights of a part (a backbone, say) are welcome. `raw` as in `load_model`.

    Raises:
        UserError: nothing there.
    """
    directory = Path(directory)
    leaves = named_leaves(model)
    with _existing(directory, None) as (manager, step):
        metadata = manager.item_metadata(step)
        wanted = {name: _beside(leaves, name, saved) for name, saved in metadata["model"].items()}
        return _read_model(manager, step, wanted, _where(directory, step), raw)


def fill_weights(model: nnx.State, arrays: Mapping[str, Any]) -> nnx.State:
    """The state with some of its arrays replaced, by name; they go where those were."""
    leaves = named_leaves(model)
    placed = {name: jax.device_put(array, leaves[name].sharding) for name, array in arrays.items()}
    return _fill(model, leaves | placed)


def save_model(
    directory: str | Path,
    config: ConfigDict,
    state: nnx.State,
    step: int = 0,
    names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes weights (of a whole model or of a part) so that eval, predict and init_from take them.

    `names`: of "classes" and "joints", where they are known, see names.py.

    Raises:
        UserError: the folder already holds a checkpoint.
    """
    directory = Path(directory)
    with open_manager(directory, ocp.CheckpointManagerOptions(enable_async_checkpointing=False)) as manager:
        if manager.latest_step() is not None:
            raise UserError(f"{directory} already holds checkpoints; name another folder")
        write_config(directory, config)
        about = {"step": step, "model": model_hash(config), "code_version": querypose_jax.__version__}
        if names:
            about["names"] = names
        items = {"model": ocp.args.StandardSave(named_leaves(state)), "about": ocp.args.JsonSave(about)}
        manager.save(step, args=ocp.args.Composite(**items))


def named_leaves(tree: PyTree) -> dict[str, Array]:
    """The leaves of a tree under their dotted paths, e.g. `backbone.stem.kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def read_about(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The facts that were saved with a checkpoint."""
    return dict(manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"])


def restore_state(manager: ocp.CheckpointManager, step: int, state: TrainState, directory: Path) -> TrainState:
    """A checkpoint with an optimizer's state, placed as `state` is.

    Where `state` has moving averages and the checkpoint has none, they begin at its parameters.

    Raises:
        UserError: it belongs to another model, or holds imported weights without an optimizer's state.
    """
    where, saved = _where(directory, step), _saved_shapes(manager, step)
    if "training" not in saved:
        raise UserError(f"{where} holds weights only; start in another workdir with --config.init_from={directory}")
    model = _read(manager, step, "model", named_leaves(state.model), saved["model"], where)
    training = _read(manager, step, "training", named_leaves(state.opt_state), saved["training"], where)
    params, ema = _fill(state.params, model), None
    if state.ema is not None and "ema" in saved:
        ema = _fill(state.ema, _read(manager, step, "ema", named_leaves(state.ema), saved["ema"], where))
    elif state.ema is not None:
        ema = first_average(params)
    return TrainState(
        step=jax.device_put(jnp.asarray(step, state.step.dtype), state.step.sharding),
        params=params,
        rest=_fill(state.rest, model),
        opt_state=_fill(state.opt_state, training),
        ema=ema,
    )


def _fill(tree: PyTree, leaves: dict[str, Array]) -> PyTree:
    """The same tree with its leaves taken by name."""
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[name] for name in named_leaves(tree)])


def _beside(leaves: Mapping[str, Array], name: str, saved: Any) -> jax.ShapeDtypeStruct:
    """How a saved array is read for a model: as the model's own where it is alike, else whole on every device."""
    own = leaves.get(name)
    if own is not None and tuple(own.shape) == tuple(saved.shape):
        return jax.ShapeDtypeStruct(own.shape, own.dtype, sharding=own.sharding)
    some = next(iter(leaves.values())).sharding
    everywhere = NamedSharding(some.mesh, PartitionSpec()) if isinstance(some, NamedSharding) else some
    return jax.ShapeDtypeStruct(tuple(saved.shape), saved.dtype, sharding=everywhere)


def _placed(leaves: dict[str, Any], sharding: Sharding | None) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = sharding or SingleDeviceSharding(jax.local_devices()[0])
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for name, x in leaves.items()}


def _read_model(manager, step: int, wanted: dict[str, Any], where: str, raw: bool) -> dict[str, Array]:
    """Reads the wanted variables of a model: of its parameters the averages where they are there and not `raw`."""
    shapes = _saved_shapes(manager, step)  # takes over a second for a thousand arrays
    arrays = _read(manager, step, "model", wanted, shapes["model"], where)
    averages = {} if raw else shapes.get("ema", {})
    if not averages:
        return arrays
    return arrays | _read(manager, step, "ema", {name: wanted[name] for name in averages}, averages, where)


def _read(
    manager, step: int, item: str, wanted: dict[str, Any], saved: dict[str, tuple[int, ...]], where: str
) -> dict[str, Array]:
    """Reads the wanted names of one item, placed as the wanted leaves are; it must hold exactly these names and shapes
    (`saved`: those it has)."""
    shapes = {name: tuple(leaf.shape) for name, leaf in wanted.items()}
    missing = sorted(shapes.keys() - saved.keys())
    if missing and all(shapes.get(name) == shape for name, shape in saved.items()):
        raise UserError(
            f"{where} holds a part of this model only ({missing[0]} and {len(missing) - 1} more are not there); "
            "start a run from it with --config.init_from, or use the configuration it was trained with"
        )
    problems = [f"{name} is missing" for name in missing]
    problems += [f"{name} is not in this model" for name in sorted(saved.keys() - shapes.keys())]
    for name in sorted(shapes.keys() & saved.keys()):
        if shapes[name] != saved[name]:
            problems.append(f"{name} has shape {list(saved[name])}, not {list(shapes[name])}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"{where} is the checkpoint of another model: {'; '.join(problems[:3])}{more}; "
            "use the configuration it was trained with"
        )
    target = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in wanted.items()}
    return manager.restore(step, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(target)}))[item]


def _saved_shapes(manager, step: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """{item: {name: shape}} of the array items of a checkpoint, read without reading the arrays."""
    metadata = manager.item_metadata(step)
    present = [item for item in ARRAY_ITEMS if metadata.get(item) is not None]
    return {item: {name: tuple(leaf.shape) for name, leaf in metadata[item].items()} for item in present}


def open_manager(directory: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    """DIR/checkpoints with its items."""
    handlers = {item: ocp.StandardCheckpointHandler() for item in ARRAY_ITEMS}
    handlers["about"] = ocp.JsonCheckpointHandler()
    return ocp.CheckpointManager((directory / FOLDER).absolute(), options=options, item_handlers=handlers)


@contextmanager
def _existing(directory: Path, step: int | None) -> Iterator[tuple[ocp.CheckpointManager, int]]:
    """Opens checkpoints for reading; yields the manager and the step that was asked for."""
    if not (directory / FOLDER).is_dir():
        raise UserError(f"{directory}: no checkpoints here; name the folder of a run or of imported weights")
    with open_manager(directory, ocp.CheckpointManagerOptions(create=False)) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise UserError(f"{directory}: no finished checkpoint here yet; train first")
        if step is not None and step not in steps:
            raise UserError(f"{directory}: no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
        yield manager, steps[-1] if step is None else step


def _where(directory: Path, step: int) -> str:
    return str(directory / FOLDER / str(step))
