"""The first state of a run that starts from weights: those of another run or of an import, as far as they fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from querypose_jax.checkpoints.carry import Table, carry, rows_for
from querypose_jax.checkpoints.checkpoint import fill_weights, find_step, load_weights, named_leaves
from querypose_jax.checkpoints.config_json import read_config
from querypose_jax.checkpoints.names import Names, saved_names
from querypose_jax.checkpoints.origin import read_origin
from querypose_jax.errors import UserError
from querypose_jax.models.family import Rows
from querypose_jax.models.registry import family_of
from querypose_jax.skeletons import get_skeleton


def start_from(
    folder: Path, config: ConfigDict, model: nnx.State, names: Names | None = None
) -> tuple[nnx.State, Table, list[str]]:
    """A fresh model with what it can take over from saved weights.

    Joints and classes of the same name are carried over row by row; config.init_map says where the weights have another
    name for one.

    Args:
        folder: of a run or an import.
        config: of the fresh model.
        model: its state, as it was drawn.
        names: of the data's classes and joints; None: those of the weights.

    Returns:
        the state, what became of each array, and that as a table in lines.

    Raises:
        UserError: no weights there, none of them fits, or init_map names what nobody has.
    """
    there = read_config(folder)
    classes_there, classes_here = class_names(folder, there, config, names)
    renames = dict(config.init_map)
    check_map(renames, (*classes_there, *joints(there)), (*classes_here, *joints(config)))
    rows = rows_of(there, classes_there), rows_of(config, classes_here)
    if renames and not rows[1]:
        raise UserError(
            f"config.init_map: the family {config.model.name} does not say what its rows stand for; leave it out"
        )
    saved = load_weights(folder, model, config.init_raw)
    wanted = {name: readable(leaf) if rows_for(name, rows[1]) else leaf for name, leaf in named_leaves(model).items()}
    taken, table = carry(saved, wanted, *rows, renames)
    if not taken:
        raise UserError(
            f"init_from {folder}: nothing in it fits this model ({there.model.name} there, {config.model.name} here); "
            "start from weights of the same family, or leave init_from out"
        )
    begin = f"init_from {folder} (step {find_step(folder)}):"
    return fill_weights(model, taken), table, table.lines(begin)


def readable(leaf: jax.Array) -> jax.Array:
    """An array that this process can read, also where its parts lie on the devices of others."""
    if leaf.is_fully_addressable or not isinstance(leaf.sharding, NamedSharding):
        return leaf
    return jax.jit(lambda x: x, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)


def class_names(
    folder: Path, there: ConfigDict, here: ConfigDict, names: Names | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the weights and of the fresh model. Where one side has no names, as many classes are taken for the same."""
    saved = saved_names(folder)
    old = saved.classes if saved else None
    new = names.classes if names else None
    alike = there.model.num_classes == here.model.num_classes
    unknown = tuple(f"class {i} of the weights" for i in range(there.model.num_classes))
    fresh = tuple(f"class {i}" for i in range(here.model.num_classes))
    return old or (alike and new) or unknown, new or (alike and (old or unknown)) or fresh


def joints(config: ConfigDict) -> tuple[str, ...]:
    """Their names."""
    return get_skeleton(config.data.skeleton).names


def rows_of(config: ConfigDict, classes: tuple[str, ...]) -> Mapping[str, Rows]:
    """Of a model whose family says what its rows are; nothing of another one."""
    rows = family_of(config).rows
    return rows(config, classes) if rows else {}


def check_map(renames: Mapping[str, str], there: tuple[str, ...], here: tuple[str, ...]) -> None:
    """Raises UserError where init_map has a name that neither side knows."""
    for new, old in renames.items():
        for name, known, side in ((new, here, "here"), (old, there, "in the weights")):
            if name and name not in known:
                raise UserError(f"config.init_map: {name!r} is no joint or class {side}; known: {', '.join(known)}")


def origin_of_start(folder: Path) -> dict[str, Any] | None:
    """What a run that starts from weights keeps of their origin; None where these were trained here from scratch."""
    origin = read_origin(folder)
    if origin is None:
        return None
    name = origin.get("name", "")
    begun = name if name.startswith("trained on from ") else f"trained on from {name}"
    return {key: value for key, value in origin.items() if key != "threshold"} | {"name": begun}
