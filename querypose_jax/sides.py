"""Left and right in the names of joints: which ones change places in a mirror."""

import re
from collections.abc import Sequence

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W_A-Za-z]+")  # left_eye, leftEye, LEye, "Left Eye 2"


def plain(name: str) -> str:
    """A name in small letters and digits: Left Eye, left_eye and leftEye are one joint."""
    return re.sub(r"[\W_]", "", name).lower()


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(left, right) joints whose names differ in the side alone: left_eye and right_eye, LEye and REye, hand.L and
    hand.R. No joint is in two of them."""
    flat = [plain(name) for name in names]
    place = {name: j for j, name in enumerate(flat) if flat.count(name) == 1}
    partners = [sorted({place[other] for other in _mirrored(name) if other in place}) for name in names]
    found = [(left, others[0]) for left, others in enumerate(partners) if len(others) == 1]
    joints = [joint for pair in found for joint in pair]
    return tuple(pair for pair in found if all(joints.count(joint) == 1 for joint in pair))


def has_side(name: str) -> bool:
    """True where left or right is one of the words of a name."""
    return any(word.lower() in ("left", "right") for word in WORD.findall(name))


def _mirrored(name: str) -> set[str]:
    """What a joint on the left may be called on the right, in plain letters."""
    flat, words = plain(name), [word.lower() for word in WORD.findall(name)]
    spelled = {f"{flat[: found.start()]}right{flat[found.end() :]}" for found in re.finditer("left", flat)}
    letters = {"".join([*words[:i], "r", *words[i + 1 :]]) for i, word in enumerate(words) if word == "l"}
    return spelled | letters
