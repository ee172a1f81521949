"""Checkpoints on disk. The only file that knows orbax.

DIR/checkpoints/STEP holds up to three items: `model` (every variable of the model under its dotted path),
`training` (the optimizer's state, absent in imported weights) and `about` (JSON: step, hashes, code version).
Arrays are stored by name, so that a mismatch can be told in words and any mesh can read them.

A folder named by a step is always whole: it gets this name when everything is written, and loses it before anything is
deleted.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import Sharding, SingleDeviceSharding
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

import querypose_jax
from querypose_jax.errors import UserError
from querypose_jax.models.registry import build_model
from querypose_jax.training.config_json import model_hash, read_config, write_config
from querypose_jax.training.disk import refusal, told_where
from querypose_jax.training.results import evaluated_steps, read_results
from querypose_jax.training.step import TrainState

BEST_BY = "keypoint/AP"
FOLDER = "checkpoints"
DELETED = "deleted"  # in FOLDER; what is superfluous is moved here in one piece, then deleted


class Checkpoints:
    """The checkpoints of a run: the newest `keep_last` and the one with the best keypoint AP. Use as a context.

    Saving returns as soon as the arrays are copied from the device; leaving the context waits for the files. A
    checkpoint is evaluated after it is written: its score is told by `rank`, those of earlier starts are read from
    DIR/eval. What is superfluous goes when the next one is complete; what a killed start has left half written or
    half deleted goes when it is opened.

    A file that cannot be written (disk full, read-only) is a UserError of `save`, `wait` or the end of the context; the
    checkpoints before stay.
    """

    def __init__(self, directory: Path, keep_last: int = 1):
        self.directory = directory
        self.scores: dict[int, float] = {}
        for step in evaluated_steps(directory):
            self.rank(step, read_results(directory, step))
        keep = checkpoint_managers.AnyPreservationPolicy(
            [checkpoint_managers.LatestN(keep_last), KeepBest(self.scores)]
        )
        with told_where(directory / FOLDER, "mend or name another workdir"):
            self._set_aside(keep_last)
            self.manager = _open(
                directory,
                ocp.CheckpointManagerOptions(
                    preservation_policy=keep, cleanup_tmp_directories=True, todelete_subdir=DELETED
                ),
            )
            self._delete()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            with self._told():
                self.manager.close()  # waits
                self._delete()
        except UserError:
            if error is None:  # else something else ended the run, or this is told already
                raise

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, None where there is none."""
        return self.manager.latest_step()

    def save(self, state: TrainState, about: dict[str, Any]) -> None:
        """Starts to write the state under its step.

        Args:
            state: what to write; it may be donated to the next step right after.
            about: JSON-able facts that `about` gives back.
        """
        self.wait()
        step = int(state.step)
        about = about | {"step": step, "code_version": querypose_jax.__version__}
        args = ocp.args.Composite(
            model=ocp.args.StandardSave(named_leaves(state.model)),
            training=ocp.args.StandardSave(named_leaves(state.opt_state)),
            about=ocp.args.JsonSave(about),
        )
        with self._told():
            self.manager.save(step, args=args)

    def wait(self) -> None:
        """Returns when everything that was saved is on disk, and what it made superfluous is not."""
        with self._told():
            self.manager.wait_until_finished()
            self._delete()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if (reason := refusal(error)) is None:
                raise
            step = newest_step(self.directory)  # on disk: the manager counts the one that failed
            last = "no checkpoint is there yet" if step is None else f"the checkpoint of step {step} is good"
            raise UserError(
                f"{self.directory / FOLDER}: cannot be written ({reason}); {last}; make room or mend the folder, and "
                "continue"
            ) from None

    def _set_aside(self, keep_last: int) -> None:
        """What an earlier start had no time to delete: one that was killed right after a checkpoint was complete."""
        steps = finished_steps(self.directory)
        best = best_step(steps, self.scores)
        superfluous = [step for step in steps[:-keep_last] if step != best]
        if jax.process_index() == 0 and superfluous:
            deleted = self.directory / FOLDER / DELETED
            deleted.mkdir(exist_ok=True)
            for step in superfluous:
                (self.directory / FOLDER / str(step)).rename(deleted / str(step))

    def _delete(self) -> None:
        if jax.process_index() == 0 and (folder := self.directory / FOLDER / DELETED).exists():
            shutil.rmtree(folder)

    def rank(self, step: int, metrics: dict[str, float]) -> None:
        """Takes note of what an evaluation of a step has found."""
        if BEST_BY in metrics:
            self.scores[step] = metrics[BEST_BY]

    def about(self) -> dict[str, Any]:
        """The facts that were saved with the newest checkpoint."""
        return _about(self.manager, self.latest_step)

    def restore(self, state: TrainState) -> TrainState:
        """The newest checkpoint, placed on the devices as `state` is.

        Raises:
            UserError: it belongs to another model, or holds imported weights without an optimizer's state.
        """
        return _restore(self.manager, self.latest_step, state, self.directory)


class KeepBest(checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint with the highest score so far, the later one of equals; `scores` grows meanwhile."""

    def __init__(self, scores: dict[int, float]):
        self.scores = scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer per checkpoint."""
        best = best_step([c.step for c in checkpoints], self.scores)
        return [c.step == best for c in checkpoints]


def best_step(steps: Sequence[int], scores: dict[int, float]) -> int | None:
    """The step with the highest score, the later one of equals; None where none has a score."""
    return max(((scores[step], step) for step in steps if step in scores), default=(0, None))[1]


def abstract_model(config: ConfigDict) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of a model, and its state with shapes in place of arrays; costs no memory."""
    return nnx.split(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))


def load_model(
    directory: str | Path, step: int | None = None, config: ConfigDict | None = None, sharding: Sharding | None = None
) -> tuple[ConfigDict, nnx.GraphDef, nnx.State]:
    """Loads the model of a run or of imported weights; `nnx.merge(graphdef, state)` gives the module.

    Args:
        directory: holds config.json and checkpoints/.
        step: which checkpoint; None = the newest.
        config: what to build instead of the configuration in config.json.
        sharding: where to put the arrays; default: this process's first device.

    Returns:
        configuration, structure, state.

    Raises:
        UserError: nothing there, no such step, or the checkpoint of another model.
    """
    directory = Path(directory)
    config = read_config(directory) if config is None else config
    graphdef, abstract = abstract_model(config)
    with _existing(directory, step) as (manager, found):
        arrays = _read(manager, found, "model", _placed(named_leaves(abstract), sharding), _where(directory, found))
    return config, graphdef, _fill(abstract, arrays)


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
        return _restore(manager, found, state, directory), _about(manager, found)


def load_arrays(directory: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a checkpoint under `model.NAME` and `training.NAME`, for comparing two of them.

    Raises:
        UserError: nothing there, or no such step.
    """
    arrays: dict[str, np.ndarray] = {}
    with _existing(directory, step) as (manager, found):
        metadata = manager.item_metadata(found)
        for item, names in _saved_shapes(manager, found).items():
            wanted = _placed({name: metadata[item][name] for name in names}, None)
            read = _read(manager, found, item, wanted, _where(directory, found))
            arrays |= {f"{item}.{name}": np.asarray(array) for name, array in read.items()}
    return arrays


def load_weights(directory: str | Path, model: nnx.State) -> tuple[nnx.State, list[str]]:
    """Starts a fresh model from saved weights, all of which must fit; placed as `model` is.

    Weights of a part (a backbone, say) are welcome: what they do not name keeps its value.

    Returns:
        the state, and the names that kept their value.

    Raises:
        UserError: nothing there, or names or shapes that the model does not have.
    """
    directory = Path(directory)
    wanted = named_leaves(model)
    with _existing(directory, None) as (manager, step):
        names = _saved_shapes(manager, step)["model"]
        part = {name: leaf for name, leaf in wanted.items() if name in names}
        arrays = _read(manager, step, "model", part, _where(directory, step))
    return _fill(model, wanted | arrays), sorted(wanted.keys() - arrays.keys())


def save_model(directory: str | Path, config: ConfigDict, state: nnx.State, step: int = 0) -> None:
    """Writes weights (of a whole model or of a part) so that eval, predict and init_from take them.

    Raises:
        UserError: the folder already holds a checkpoint.
    """
    directory = Path(directory)
    with _open(directory, ocp.CheckpointManagerOptions(enable_async_checkpointing=False)) as manager:
        if manager.latest_step() is not None:
            raise UserError(f"{directory} already holds checkpoints; name another folder")
        write_config(directory, config)
        about = {"step": step, "model": model_hash(config), "code_version": querypose_jax.__version__}
        items = {"model": ocp.args.StandardSave(named_leaves(state)), "about": ocp.args.JsonSave(about)}
        manager.save(step, args=ocp.args.Composite(**items))


def named_leaves(tree: PyTree) -> dict[str, Array]:
    """The leaves of a tree under their dotted paths, e.g. `backbone.stem.kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _about(manager, step: int) -> dict[str, Any]:
    return dict(manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"])


def _restore(manager, step: int, state: TrainState, directory: Path) -> TrainState:
    """A checkpoint with an optimizer's state, placed as `state` is."""
    where = _where(directory, step)
    if "training" not in _saved_shapes(manager, step):
        raise UserError(f"{where} holds weights only; start in another workdir with --config.init_from={directory}")
    model = _read(manager, step, "model", named_leaves(state.model), where)
    training = _read(manager, step, "training", named_leaves(state.opt_state), where)
    return TrainState(
        step=jax.device_put(jnp.asarray(step, state.step.dtype), state.step.sharding),
        params=_fill(state.params, model),
        rest=_fill(state.rest, model),
        opt_state=_fill(state.opt_state, training),
    )


def _fill(tree: PyTree, leaves: dict[str, Array]) -> PyTree:
    """The same tree with its leaves taken by name."""
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[name] for name in named_leaves(tree)])


def _placed(leaves: dict[str, Any], sharding: Sharding | None) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = sharding or SingleDeviceSharding(jax.local_devices()[0])
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for name, x in leaves.items()}


def _read(manager, step: int, item: str, wanted: dict[str, Any], where: str) -> dict[str, Array]:
    """Reads the wanted names of one item, placed as the wanted leaves are; the item must hold exactly these names."""
    saved = _saved_shapes(manager, step)[item]
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
    present = [item for item in ("model", "training") if metadata.get(item) is not None]
    return {item: {name: tuple(leaf.shape) for name, leaf in metadata[item].items()} for item in present}


def _open(directory: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    handlers = {item: ocp.StandardCheckpointHandler() for item in ("model", "training")}
    handlers["about"] = ocp.JsonCheckpointHandler()
    return ocp.CheckpointManager((directory / FOLDER).absolute(), options=options, item_handlers=handlers)


@contextmanager
def _existing(directory: Path, step: int | None) -> Iterator[tuple[ocp.CheckpointManager, int]]:
    """Opens checkpoints for reading; yields the manager and the step that was asked for."""
    if not (directory / FOLDER).is_dir():
        raise UserError(f"{directory}: no checkpoints here; name the folder of a run or of imported weights")
    with _open(directory, ocp.CheckpointManagerOptions(create=False)) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise UserError(f"{directory}: no finished checkpoint here yet; train first")
        if step is not None and step not in steps:
            raise UserError(f"{directory}: no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
        yield manager, steps[-1] if step is None else step


def _where(directory: Path, step: int) -> str:
    return str(directory / FOLDER / str(step))
