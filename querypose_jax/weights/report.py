"""What of a file of weights found its place in a model, and what did not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from querypose_jax.backbones.bias_tables import SUFFIX, resize_table, window_of
from querypose_jax.errors import one_line
from querypose_jax.weights.sources import TRUNK, Translated

MISSING, UNEXPECTED, DIFFERING = "names are missing", "names are not part of this model", "shapes differ"


@dataclass
class Report:
    """Names, by what became of them. Official ones, but for `unused`, which are those of the file."""

    used: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # known to be of no use
    missing: list[str] = field(default_factory=list)  # known to be absent from such files
    interpolated: list[str] = field(default_factory=list)  # used, in another size than the file's
    allowed: dict[str, list[str]] = field(default_factory=dict)  # kind -> names that --allow-missing let pass
    problems: dict[str, list[str]] = field(default_factory=dict)  # kind -> the other names that do not fit

    def to_json(self) -> dict[str, Any]:
        """For the file beside the checkpoint."""
        return {name: getattr(self, name) for name in ("used", "unused", "missing", "interpolated", "allowed")}

    def lines(self) -> list[str]:
        """For the screen: counts and the first names."""
        kinds = {
            "used": self.used,
            "known to be unused": self.unused,
            "known to be missing": self.missing,
            "interpolated": self.interpolated,
        }
        kinds |= {f"{kind}, as --allow-missing says": names for kind, names in self.allowed.items()}
        return [f"{len(names):6} {kind}" + (f": {few(names)}" if names else "") for kind, names in kinds.items()]

    def problem(self) -> str:
        """All problems in a part of a sentence."""
        return "; ".join(f"{len(names)} {kind}: {few(names)}" for kind, names in self.problems.items())


def match(
    found: Translated, expected: Mapping[str, tuple[int, ...]], allow: str | None = None
) -> tuple[dict[str, np.ndarray], Report]:
    """Sorts the tensors of a file into those that a model can take and the others.

    Args:
        found: the file in official names.
        expected: official name -> shape.
        allow: regular expression; names in which it is found may be missing, unexpected or of another shape.

    Returns:
        the tensors that fit (bias tables of another window interpolated), and the report.
    """
    allowed = re.compile(allow) if allow else None
    report = Report(unused=list(found.unused))
    tensors: dict[str, np.ndarray] = {}

    def sort_out(kind: str, name: str, more: str = "") -> None:
        group = report.allowed if allowed and allowed.search(name) else report.problems
        group.setdefault(kind, []).append(name + more)

    for name, shape in expected.items():
        if name in found.tensors:
            tensor = fitted(found.tensors[name], name, shape, report)
            if tensor is None:
                sort_out(DIFFERING, name, f" {found.tensors[name].shape} instead of {tuple(shape)}")
            else:
                tensors[name] = tensor
        elif found.may_miss.search(name):
            report.missing.append(name)
        elif name.startswith(TRUNK) or not found.of_trunk:
            sort_out(MISSING, name)
    for name in found.tensors:
        if name not in expected:
            sort_out(UNEXPECTED, name)
    report.used = list(tensors)
    return tensors, report


def fitted(tensor: np.ndarray, name: str, shape: tuple[int, ...], report: Report) -> np.ndarray | None:
    """The tensor in the shape that is wanted, None where it does not fit."""
    if tensor.shape == tuple(shape):
        return tensor
    if not name.endswith(SUFFIX) or tensor.ndim != 2 or tensor.shape[1] != shape[1]:
        return None
    old, new = window_of(len(tensor)), window_of(shape[0])
    if old is None or new is None:
        return None
    report.interpolated.append(f"{name} from window {old} to {new}")
    return resize_table(tensor, shape[0])


def few(items: list[str], limit: int = 3) -> str:
    """The first items, which may be names in a file, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(map(one_line, items[:limit])) + more
