"""What of saved weights a fresh model takes over: arrays that fit, and of those that depend on joints, classes or
queries the rows of the same name. What is kept and what is drawn anew is one table."""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from querypose_jax.models.family import Rows

Renames = Mapping[str, str]
"""Name of a joint or class here -> its name in the weights; "" for one that is to be drawn."""
SHOWN = 4  # names of a kind in the table
PLURALS = {"joint": "joints", "class": "classes", "limb": "limbs", "query": "queries"}
Key = tuple[Hashable, ...]


@dataclass
class Table:
    """Names of arrays by what became of them, and of rows."""

    kept: list[str] = field(default_factory=list)
    in_part: list[str] = field(default_factory=list)  # row by row
    drawn: dict[str, str] = field(default_factory=dict)  # name -> why
    left: list[str] = field(default_factory=list)  # in the weights only
    rows_kept: dict[Key, Key] = field(default_factory=dict)  # here -> in the weights
    rows_drawn: dict[Key, None] = field(default_factory=dict)

    def lines(self, begin: str) -> list[str]:
        """For the screen; `begin` says which weights these are."""
        kinds = {
            "kept whole": self.kept,
            "kept by rows": self.in_part,
            "drawn anew": [f"{name} ({why})" if why else name for name, why in self.drawn.items()],
            "not taken": self.left,
        }
        lines = [begin]
        for kind, names in kinds.items():
            shown = "" if kind == "kept whole" else some(names)
            lines.append(f"  {kind:<13}{len(names):>5} arrays  {shown}".rstrip())
        for kind in PLURALS:
            kept = [said(here, there) for here, there in self.rows_kept.items() if here[0] == kind]
            drawn = [said(key, key) for key in self.rows_drawn if key[0] == kind]
            for what, names in (("kept", kept), ("drawn", drawn)):
                if names:
                    lines.append(f"  {PLURALS[kind]} {what}: {some(list(dict.fromkeys(names)), 30)}")
        return lines


def carry(
    saved: Mapping[str, np.ndarray],
    wanted: Mapping[str, Any],
    rows_there: Mapping[str, Rows],
    rows_here: Mapping[str, Rows],
    renames: Renames | None = None,
) -> tuple[dict[str, np.ndarray], Table]:
    """Sorts out what a fresh model can take over.

    Args:
        saved: path -> array of the weights.
        wanted: path -> array of the fresh model, as it was drawn.
        rows_there, rows_here: of the model of the weights and of the fresh one, see `Family.rows`.
        renames: where a joint or class is another name's in the weights.

    Returns:
        path -> array, only of what is taken over, in whole or in part; and the table.
    """
    table, taken = Table(left=sorted(saved.keys() - wanted.keys())), {}
    for name, leaf in wanted.items():
        here, there = rows_for(name, rows_here), rows_for(name, rows_there)
        if name not in saved:
            table.drawn[name] = ""
        elif here and there and fits_across(leaf, here, saved[name], there):
            sources = match_rows(here, there, renames or {}, table)
            if sources == list(range(len(there.keys))):
                taken[name] = saved[name]
                table.kept.append(name)
            elif any(source is not None for source in sources):
                taken[name] = put_rows(leaf, saved[name], here.axis, sources)
                table.in_part.append(name)
            else:
                table.drawn[name] = "no row of that name there"
        elif np.shape(leaf) == np.shape(saved[name]):
            taken[name] = saved[name]
            table.kept.append(name)
        else:
            table.drawn[name] = f"{list(np.shape(saved[name]))} there, {list(np.shape(leaf))} here"
    return taken, table


def rows_for(name: str, rows: Mapping[str, Rows]) -> Rows | None:
    """What stands along an axis of an array; None where its shape depends on nothing that has names."""
    return next((found for pattern, found in rows.items() if re.search(pattern, name)), None)


def fits_across(leaf: Any, here: Rows, saved: Any, there: Rows) -> bool:
    """Whether two arrays have as many rows as is said, and rows of one shape."""
    if np.ndim(leaf) != np.ndim(saved) or here.axis != there.axis:
        return False
    ours, theirs = (list(np.shape(x)) for x in (leaf, saved))
    return ours.pop(here.axis) == len(here.keys) and theirs.pop(there.axis) == len(there.keys) and ours == theirs


def match_rows(here: Rows, there: Rows, renames: Renames, table: Table) -> list[int | None]:
    """Index here -> index there, None where no key is known there; noted in the table."""
    place = {key: index for index, keys in reversed(list(enumerate(there.keys))) for key in keys}
    sources: list[int | None] = []
    for keys in here.keys:
        meant = [(key, renamed(key, renames)) for key in keys]
        found = next(((key, there) for key, there in meant if there in place), None)
        sources.append(place[found[1]] if found else None)
        if found:
            table.rows_kept[found[0]] = found[1]
        else:
            table.rows_drawn[keys[0]] = None
    return sources


def renamed(key: Key, renames: Renames) -> Key:
    """A key in the names of the weights."""
    return (key[0], *(renames.get(part, part) if isinstance(part, str) else part for part in key[1:]))


def put_rows(leaf: Any, saved: np.ndarray, axis: int, sources: Sequence[int | None]) -> np.ndarray:
    """The fresh array with the rows that have a source in the saved one."""
    array = np.array(leaf)
    rows, from_rows = np.moveaxis(array, axis, 0), np.moveaxis(np.asarray(saved), axis, 0)
    for index, source in enumerate(sources):
        if source is not None:
            rows[index] = from_rows[source]
    return array


def said(here: Key, there: Key) -> str:
    """`head <- nose`, or one name where both are the same."""
    ours, theirs = (
        "-".join(part for part in key[1:] if isinstance(part, str)) or str(key[-1]) for key in (here, there)
    )
    return ours if ours == theirs else f"{ours} <- {theirs}"


def some(names: Sequence[str], limit: int = SHOWN) -> str:
    """The first names and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
