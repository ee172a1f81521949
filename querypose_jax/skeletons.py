"""Keypoint sets: names, left/right pairs, OKS sigmas, edges to draw, parts to regress and limbs to group by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from querypose_jax.errors import UserError
from querypose_jax.sides import pairs_by_name

DEFAULT_SIGMA = 0.1  # where nobody has measured how exactly people place a joint; COCO's lie between 0.025 and 0.107


@dataclass(frozen=True)
class Skeleton:
    """A keypoint set. Indices count from 0 in the order of `names`.

    Raises:
        ValueError: when sigmas, edges, flip pairs or parts do not fit the names.
    """

    name: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    """(left, right) keypoints that change places when a picture is mirrored."""
    sigmas: tuple[float, ...]
    """Per-keypoint OKS constants (Ronchi & Perona 2017)."""
    edges: tuple[tuple[int, int], ...]
    """Bones to draw."""
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    """(part name, keypoints in the order the part's head emits them), every keypoint in exactly one part."""
    limbs: tuple[tuple[int, int], ...] = ()
    """(from, to): directed pairs of joints by which bottom-up models join joints into people, in this order."""

    def __post_init__(self):
        indices = set(range(self.num_keypoints))
        if len(self.sigmas) != self.num_keypoints:
            raise ValueError(f"skeleton {self.name}: {len(self.sigmas)} sigmas for {self.num_keypoints} keypoints")
        if not all(sigma > 0 for sigma in self.sigmas):
            raise ValueError(f"skeleton {self.name}: sigmas must be positive")
        paired = [j for pair in self.flip_pairs for j in pair]
        if len(set(paired)) < len(paired):
            raise ValueError(f"skeleton {self.name}: a keypoint is in two flip pairs")
        named = [j for pair in (*self.edges, *self.flip_pairs, *self.limbs) for j in pair]
        if not set(named) <= indices:
            outside = f"name keypoints outside 0..{len(indices) - 1}"
            raise ValueError(f"skeleton {self.name}: edges, limbs or flip pairs {outside}")
        if sorted(j for _, joints in self.parts for j in joints) != sorted(indices):
            raise ValueError(f"skeleton {self.name}: parts must hold every keypoint exactly once")

    @property
    def num_keypoints(self) -> int:
        return len(self.names)

    @cached_property
    def flip_index(self) -> tuple[int, ...]:
        """Keypoint j of the mirrored picture is keypoint flip_index[j] of the original one."""
        index = list(range(self.num_keypoints))
        for left, right in self.flip_pairs:
            index[left], index[right] = right, left
        return tuple(index)

    @cached_property
    def flip_limbs(self) -> tuple[int | None, ...]:
        """Limb i of the picture is limb flip_limbs[i] of the mirrored one; None where it has no such limb.

        A limb that runs the other way in the mirror (left to right shoulder) has none: an offset tells where the end
        is as seen from the start, not the reverse.
        """
        mirrored = [(self.flip_index[start], self.flip_index[end]) for start, end in self.limbs]
        return tuple(self.limbs.index(limb) if limb in self.limbs else None for limb in mirrored)

    @cached_property
    def part_order(self) -> tuple[int, ...]:
        """Keypoint indices in the order in which the parts emit them."""
        return tuple(j for _, joints in self.parts for j in joints)


def skeleton_from_parts(parts: Sequence[tuple[str, Sequence[int]]], name: str = "from_parts") -> Skeleton:
    """A nameless skeleton that has nothing but parts: enough to build and run a model, not to evaluate it."""
    parts = tuple((part, tuple(joints)) for part, joints in parts)
    count = sum(len(joints) for _, joints in parts)
    return Skeleton(name, tuple(f"joint_{j}" for j in range(count)), (), (0.1,) * count, (), parts)


COCO = Skeleton(
    name="coco",
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
            0.087, 0.087, 0.089, 0.089),
    edges=((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9),
           (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    parts=(
        ("face", (0, 1, 2, 3, 4)),
        ("shoulders", (5, 6)),
        ("left_arm", (7, 9)),
        ("right_arm", (8, 10)),
        ("hips", (11, 12)),
        ("left_leg", (13, 15)),
        ("right_leg", (14, 16)),
    ),
    limbs=((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (5, 6), (4, 6), (3, 5), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11),
           (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
)  # fmt: skip

CROWDPOSE = Skeleton(
    name="crowdpose",
    names=(
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
    ),
    flip_pairs=((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)),
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    edges=((10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5),
           (12, 13), (1, 13), (0, 13)),
    parts=(
        ("head_neck", (12, 13)),
        ("shoulders", (0, 1)),
        ("left_arm", (2, 4)),
        ("right_arm", (3, 5)),
        ("hips", (6, 7)),
        ("left_leg", (8, 10)),
        ("right_leg", (9, 11)),
    ),
    limbs=((12, 13), (13, 0), (13, 1), (0, 1), (6, 7), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 8), (8, 10),
           (7, 9), (9, 11)),
)  # fmt: skip

ARMS_AND_LEGS = (
    ("left_arm", (5, 7, 9)), ("right_arm", (6, 8, 10)), ("left_leg", (11, 13, 15)), ("right_leg", (12, 14, 16)),
)  # fmt: skip
COCO_SINGLES = tuple((name, (joint,)) for joint, name in enumerate(COCO.names))
# COCO's joints in other parts: 17, 13 and 5 as in the paper's Table 2d; 1 is for models without part queries.
COCO_IN_PARTS = tuple(
    replace(COCO, name=f"coco_parts_{len(parts)}", parts=parts)
    for parts in (
        COCO_SINGLES,
        (COCO.parts[0], *COCO_SINGLES[5:]),
        (COCO.parts[0], *ARMS_AND_LEGS),
        (("body", tuple(range(17))),),
    )
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, CROWDPOSE, *COCO_IN_PARTS)}


def get_skeleton(described: str | Mapping) -> Skeleton:
    """The skeleton that config.data.skeleton gives: the name of one of SKELETONS, or a group that describes one.

    Raises:
        UserError: an unknown name (the known ones are listed), or a description that does not fit together.
    """
    if not isinstance(described, str):
        return described_skeleton(described)
    if described not in SKELETONS:
        raise UserError(
            f"config.data.skeleton={described!r} is unknown; known: {', '.join(SKELETONS)}, or a group that describes "
            "one (docs/custom_data.md)"
        )
    return SKELETONS[described]


def described_skeleton(group: Mapping) -> Skeleton:
    """A skeleton of the user's own; joints are called by their names.

    Args:
        group: `names` of the K joints in the order of the annotation file, and, as wanted, `name`, `sigmas` (K
            numbers), `flip_pairs` and `edges` (pairs of joints), `limbs` (pairs from one joint to the next; default:
            the edges), `parts` (pairs of a part's name and its joints; default: one part per joint). Joints that are in
            none of the flip_pairs are paired by their names.

    Raises:
        UserError: an unknown key, a joint that `names` lacks, or numbers that do not fit.
    """
    unknown = sorted(set(group) - {"name", "names", "sigmas", "flip_pairs", "edges", "parts", "limbs"})
    names = tuple(group.get("names", ()))
    if unknown or not names or len(set(names)) < len(names):
        problem = f"has the unknown key {unknown[0]!r}" if unknown else "needs names, one for each joint, all different"
        raise UserError(f"config.data.skeleton {problem}")
    place = {joint: j for j, joint in enumerate(names)}

    def joints(key: str, called: Sequence[str]) -> tuple[int, ...]:
        for joint in called:
            if joint not in place:
                raise UserError(f"config.data.skeleton.{key} names the joint {joint!r}; names has {', '.join(names)}")
        return tuple(place[joint] for joint in called)

    def pairs(key: str) -> tuple[tuple[int, ...], ...]:
        found = tuple(joints(key, pair) for pair in group.get(key, ()))
        if any(len(set(pair)) != 2 for pair in found):
            raise UserError(f"config.data.skeleton.{key} must be pairs of two different joints")
        return found

    flip_pairs = pairs("flip_pairs")
    by_name = tuple(pair for pair in pairs_by_name(names) if not {j for given in flip_pairs for j in given} & set(pair))
    parts = group.get("parts", ()) or tuple((joint, (joint,)) for joint in names)
    try:
        return Skeleton(
            name=group.get("name", "custom"),
            names=names,
            flip_pairs=flip_pairs + by_name,
            sigmas=tuple(group.get("sigmas", ()) or (DEFAULT_SIGMA,) * len(names)),
            edges=pairs("edges"),
            parts=tuple((part, joints("parts", called)) for part, called in parts),
            limbs=pairs("limbs") or pairs("edges"),
        )
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"config.data.skeleton: {error}") from None


def paired_by_name(described: str | Mapping) -> str:
    """A line that names the flip pairs of `get_skeleton` that a description does not give; "" where there are none."""
    if isinstance(described, str):
        return ""
    skeleton = described_skeleton(described)
    given = {frozenset(pair) for pair in described.get("flip_pairs", ())}
    pairs = [(skeleton.names[left], skeleton.names[right]) for left, right in skeleton.flip_pairs]
    listed = ", ".join(f"{left} - {right}" for left, right in pairs if frozenset((left, right)) not in given)
    return listed and f"by their names, these joints change places in a mirror: {listed}"
