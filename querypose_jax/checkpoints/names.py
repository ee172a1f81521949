"""The names of classes and joints that a checkpoint was trained on: a label is only its place among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from querypose_jax.checkpoints.checkpoint import load_about
from querypose_jax.errors import UserError


class Names(NamedTuple):
    """Class names in the order of the labels, joint names in the order of the keypoints."""

    classes: tuple[str, ...]
    joints: tuple[str, ...]


def saved_names(directory: Path, step: int | None = None) -> Names | None:
    """Those of a checkpoint, the newest by default; None where it has none: imported weights, older versions.

    Raises:
        UserError: no such checkpoint.
    """
    names = load_about(directory, step).get("names")
    return names and Names(tuple(names["classes"]), tuple(names["joints"]))


def check_same_names(directory: Path, saved: Names, names: Names) -> None:
    """Refuses to go on with, or to score, a checkpoint under other names than it was trained on.

    Raises:
        UserError: which ones differ.
    """
    for kind, theirs, ours in zip(Names._fields, saved, names, strict=True):
        if theirs != ours:
            raise UserError(
                f"{directory} is trained on the {kind} {', '.join(theirs)}, here they are {', '.join(ours)}; "
                "give them the same names in the same order, or use the run's own configuration and data"
            )


def check_start(directory: str | Path, names: Names) -> str:
    """Whether a run may start from the weights of `directory`: whatever both know is at the same place in both.

    Other names are a transfer to other classes or joints, which is as it should be where their number is the same.

    Returns:
        a line on what the weights meant elsewhere; "" where all names are the same, and where none are known.

    Raises:
        UserError: no checkpoint there, or a name whose place is another one.
    """
    saved, said = saved_names(Path(directory)), []
    for kind, theirs, ours in zip(Names._fields, saved or names, names, strict=True):
        if moved := _moved(theirs, ours):
            raise UserError(
                f"init_from {directory}: its {kind} are {', '.join(theirs)}, here they are {', '.join(ours)}, with "
                f"{moved[0]!r} at another place; take the same order{ORDER_OF[kind]}"
            )
        if theirs != ours:
            said.append(f"its {kind} were {', '.join(theirs)}, from now on they are {', '.join(ours)}")
    return f"init_from {directory}: {'; '.join(said)}" if said else ""


ORDER_OF = {"classes": " (config.data.custom.categories)", "joints": " (config.data.skeleton.names)"}


def _moved(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Names that both have, at different places. Lists of other lengths belong to weights that do not fit at all."""
    place = {name: i for i, name in enumerate(theirs)}
    return [name for i, name in enumerate(ours) if len(theirs) == len(ours) and place.get(name, i) != i]
