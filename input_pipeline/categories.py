"""The list `categories` of an annotation file: classes are told apart by their names, joints by theirs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from querypose_jax.errors import UserError
from querypose_jax.sides import plain
from querypose_jax.skeletons import Skeleton

LARGEST_ID = 10**9  # either sign


def check_categories(listed: object, path: Path) -> None:
    """Raises UserError unless this is a list of entries with an integer id and a name, no id of two classes."""
    if not isinstance(listed, list) or not all(isinstance(c, dict) and _is_category(c) for c in listed):
        raise UserError(f"{path}: 'categories' must be a list of entries with an id (an integer) and a name")
    names: dict[int, str] = {}
    for category in listed:
        number, name = category["id"], category["name"]
        if names.setdefault(number, name) != name:
            raise UserError(
                f"{path}: 'categories' has the id {number} twice, as {names[number]!r} and as {name!r}; give every "
                "class an id of its own"
            )


def join_categories(content: dict) -> list[str]:
    """Leaves one entry for each name (in place): a class is its name, exports with a root list it once more.

    The id that stays is the smallest one with annotations, so that results fit the file; annotations of the others go
    to it. The order of the list decides nothing.

    Returns:
        a line for each name that several ids had.
    """
    listed = content["categories"]
    ids = {category["id"] for category in listed}
    used = {entry["category_id"] for entry in content["annotations"] if is_of(entry, ids)}
    ids_of: dict[str, list[int]] = {}
    for category in sorted(listed, key=lambda category: (category["id"] not in used, category["id"])):
        ids_of.setdefault(category["name"], []).append(category["id"])
    ids_of = {name: list(dict.fromkeys(ids)) for name, ids in ids_of.items()}
    target = {other: ids[0] for ids in ids_of.values() for other in ids}
    stays = {number: category for category in listed if target[number := category["id"]] == number}
    content["categories"] = list(stays.values())
    for entry in content["annotations"]:
        if is_of(entry, ids):
            entry["category_id"] = target[entry["category_id"]]
    return [
        f"'categories' has {name!r} with the ids {', '.join(map(str, ids))}: one class, with the id {ids[0]}"
        for name, ids in ids_of.items()
        if len(ids) > 1
    ]


def joint_order_problem(listed: Sequence[dict], skeleton: Skeleton) -> str:
    """A line where a category's list of joints, if it has one, gives a joint of the skeleton another place; else "".

    Names that only one of the two has say nothing: a file may call its joints as it likes.
    """
    for category, theirs in _joint_lists(listed):
        if moved := moved_names(theirs, skeleton.names):
            return (
                f"category {category!r} lists the joints {', '.join(theirs)}, but config.data.skeleton has "
                f"{moved[0]} at another place; give its names in the order of the file"
            )
    return ""


def other_joint_names(listed: Sequence[dict], skeleton: Skeleton) -> list[str]:
    """`CATEGORY: JOINT in the file, JOINT here` where the names of a joint differ by more than spelling."""
    return [
        f"{category}: {their!r} in the file, {our!r} here"
        for category, theirs in _joint_lists(listed)
        for their, our in zip(theirs, skeleton.names, strict=False)
        if plain(their) != plain(our)
    ]


def moved_names(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Those of `ours` that `theirs` has at another place. Spelling (capitals, signs) does not matter."""
    place = {plain(name): i for i, name in enumerate(theirs)}
    return [name for i, name in enumerate(ours) if place.get(plain(name), i) != i]


def is_of(entry: object, categories: set[int]) -> bool:
    """An annotation of one of the categories."""
    number = entry.get("category_id") if isinstance(entry, dict) else None
    return isinstance(number, int | float) and number in categories


def _joint_lists(listed: Sequence[dict]) -> Iterator[tuple[str, list[str]]]:
    for category in listed:
        theirs = category.get("keypoints")
        if isinstance(theirs, list) and all(isinstance(name, str) for name in theirs):
            yield category["name"], theirs


def _is_category(category: dict) -> bool:
    number = category.get("id")
    return isinstance(number, int) and abs(number) <= LARGEST_ID and isinstance(category.get("name"), str)
