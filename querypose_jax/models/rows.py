"""Pieces of `Family.rows`: what stands for what along an axis that joints, classes or limbs decide."""

from collections.abc import Iterable, Sequence

from querypose_jax.models.family import Rows
from querypose_jax.skeletons import Skeleton

NOBODY = ("nobody",)  # key of a column that is no class


def joint_rows(skeleton: Skeleton, axis: int) -> Rows:
    """An index per joint."""
    return Rows(axis, tuple((("joint", name),) for name in skeleton.names))


def coordinate_rows(skeleton: Skeleton, axis: int) -> Rows:
    """Indices x0, y0, x1, y1 ... of the joints."""
    return Rows(axis, tuple((("joint", name, place),) for name in skeleton.names for place in range(2)))


def limb_rows(skeleton: Skeleton, axis: int) -> Rows:
    """Indices x0, y0, x1, y1 ... of the limbs, each from one joint to another."""
    limbs = [(skeleton.names[start], skeleton.names[end]) for start, end in skeleton.limbs]
    return Rows(axis, tuple((("limb", *names, place),) for names in limbs for place in range(2)))


def part_rows(skeleton: Skeleton, axis: int) -> Rows:
    """An index per part, which goes by each of its joints."""
    return Rows(axis, tuple(tuple(("joint", skeleton.names[j]) for j in joints) for _, joints in skeleton.parts))


def class_rows(classes: Sequence[str], axis: int, before: Iterable[tuple[str]] = ()) -> Rows:
    """An index per class, behind columns that are none."""
    return Rows(axis, (*((key,) for key in before), *((("class", name),) for name in classes)))


def numbered_rows(count: int, axis: int) -> Rows:
    """Indices that are alike and have no names: learnt queries."""
    return Rows(axis, tuple((("query", index),) for index in range(count)))
