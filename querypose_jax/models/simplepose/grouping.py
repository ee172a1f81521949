"""Greedy grouping: limbs are joined into people, one kind of limb after the other (arXiv 2107.03098, Algorithm 1).

The released program goes through lists that grow and shrink. Here people live in a fixed number of slots, in the order
in which the release would list them, so that a picture's grouping is a program of fixed shape for every device. The
plain form is in the tests, which hold both equal.

More people than slots: what would come after the last slot is left out. New people come in the order of their limb's
score, so of one kind of limb the weakest are; people who are there already are never pushed out.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from querypose_jax.models.simplepose.limbs import Limbs, is_usable
from querypose_jax.skeletons import Skeleton

EMPTY = -1  # what every number of a slot without joint is, as released


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class People:
    """P slots for people of K joints; filled ones come first."""

    xy: Float[Array, "*B P K 2"]
    """Network pixels."""
    score: Float[Array, "*B P K"]
    """Of the joint's peak."""
    scale: Float[Array, "*B P K"]
    """Size of the joint, network pixels."""
    limb_score: Float[Array, "*B P K"]
    """The best limb that has put the joint there."""
    id: Int[Array, "*B P K"]


def group(limbs: Limbs, skeleton: Skeleton, slots: int, max_distance: float) -> People:
    """The people of B pictures from their limbs [B, E, C]."""
    return jax.vmap(lambda limbs: group_picture(limbs, skeleton, slots, max_distance))(limbs)


def group_in_steps(limbs: Limbs, skeleton: Skeleton, slots: int, max_distance: float) -> People:
    """The people of B pictures after each kind of limb, [B, E, P, ...]."""
    return jax.vmap(lambda limbs: group_picture(limbs, skeleton, slots, max_distance, in_steps=True))(limbs)


def group_picture(limbs: Limbs, skeleton: Skeleton, slots: int, max_distance: float, in_steps: bool = False) -> People:
    """The people of one picture; `in_steps`: after each kind of limb, with a leading E."""
    people = nobody(slots, skeleton.num_keypoints, limbs.score.dtype)

    def join(people: People, kind: tuple[Int[Array, " 2"], Limbs]) -> tuple[People, People | None]:
        ends, candidates = kind
        joined = join_limbs(people, ends, *best_limbs(candidates, max_distance))
        return joined, joined if in_steps else None

    last, steps = jax.lax.scan(join, people, (jnp.array(skeleton.limbs), limbs))
    return steps if in_steps else last


def nobody(slots: int, joints: int, dtype: jnp.dtype) -> People:
    """Empty slots."""
    numbers = jnp.full((slots, joints), EMPTY, dtype)
    pairs = jnp.full((slots, joints, 2), EMPTY, dtype)
    return People(pairs, numbers, numbers, numbers, jnp.full((slots, joints), EMPTY, jnp.int32))


def best_limbs(limbs: Limbs, max_distance: float) -> tuple[Limbs, Bool[Array, " C"]]:
    """One kind of limb, best first, and which of them count: usable, and the best of those with the same end."""
    usable = is_usable(limbs, max_distance)
    order = jnp.argsort(jnp.where(usable, -limbs.score, jnp.inf), stable=True)
    limbs, usable = jax.tree.map(lambda x: x[order], (limbs, usable))
    end = limbs.id[:, 1]
    place = jnp.arange(len(end))
    is_taken = ((end[:, None] == end) & usable & (place < place[:, None])).any(1)
    return limbs, usable & ~is_taken


def join_limbs(people: People, ends: Int[Array, " 2"], limbs: Limbs, is_limb: Bool[Array, " C"]) -> People:
    """One kind of limb, best first, between the joints `ends`: joins them to people, merges people, adds new ones."""
    shared = (people.id[:, None, ends] == limbs.id).sum(-1) * is_limb  # P C, joints in common: 0, 1 or 2
    before = people.limb_score[:, ends]
    is_better = (limbs.score[:, None] > before[:, None]).any(-1)

    # People who have both joints: the limb's score where it is better. An end belongs to one limb, so to one at most.
    agrees = (shared == 2) & is_better
    best = jnp.where(agrees, limbs.score, -jnp.inf).max(1)
    people = replace_ends(people, ends, limb_score=jnp.maximum(before, best[:, None]))
    shared = jnp.where((shared == 2) & agrees.any(), EMPTY, shared)  # all solved, also those without gain (released)

    # People who have one of the joints: a better limb overwrites both. Of several the last one stands.
    agrees = (shared == 1) & is_better
    people = overwrite(people, ends, limbs, agrees)
    shared = jnp.where((shared == 1) & agrees.any(), EMPTY, shared)

    people, is_person = merge(people, may_merge=is_limb.any())
    # As released by the sum: a limb that one person shares and another has solved starts a person, too.
    return add(people, is_person, new_people(people, ends, limbs), is_limb & (shared.sum(0) == 0))


def replace_ends(people: People, ends: Int[Array, " 2"], **values: Array) -> People:
    """People with other numbers at the two joints of a limb, [P, 2, ...] each."""
    return replace(people, **{name: getattr(people, name).at[:, ends].set(x) for name, x in values.items()})


def overwrite(people: People, ends: Int[Array, " 2"], limbs: Limbs, agrees: Bool[Array, "P C"]) -> People:
    """Puts the last limb that agrees with a person at both of its joints; scores only grow."""
    last = jnp.where(agrees, jnp.arange(agrees.shape[1]), -1).max(1)
    rows = jax.tree.map(lambda x: x[jnp.maximum(last, 0)], limbs)
    has_limb = (last >= 0)[:, None]
    limb_score = jnp.maximum(people.limb_score[:, ends], rows.score[:, None])
    return replace_ends(
        people,
        ends,
        xy=jnp.where(has_limb[..., None], rows.xy, people.xy[:, ends]),
        score=jnp.where(has_limb, rows.joint_score, people.score[:, ends]),
        scale=jnp.where(has_limb, rows.joint_scale, people.scale[:, ends]),
        limb_score=jnp.where(has_limb, limb_score, people.limb_score[:, ends]),
        id=jnp.where(has_limb, rows.id, people.id[:, ends]),
    )


def merge(people: People, may_merge: Bool[Array, ""]) -> tuple[People, Bool[Array, " P"]]:
    """Two people with exactly two joints in common become the first of them; also, who is still a person.

    Every number of every joint becomes the larger one, as released: where they disagree on a joint, coordinates mix.
    With several partners the last one stands. People who share three joints or more stay.
    """
    is_joint = people.id != EMPTY
    common = ((people.id[:, None] == people.id) & is_joint).sum(-1)
    place = jnp.arange(len(common))
    is_pair = (common == 2) & (place[:, None] < place) & may_merge
    partner = jnp.where(is_pair, place, -1).max(1)

    def larger(x: Array) -> Array:
        has_partner = (partner >= 0).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(has_partner, jnp.maximum(x, x[jnp.maximum(partner, 0)]), x)

    return jax.tree.map(larger, people), is_joint.any(1) & ~is_pair.any(0)


def new_people(people: People, ends: Int[Array, " 2"], limbs: Limbs) -> People:
    """A person for each limb, with its two joints."""
    fresh = nobody(len(limbs.score), people.id.shape[1], limbs.score.dtype)
    limb_score = jnp.broadcast_to(limbs.score[:, None], limbs.id.shape)
    return replace_ends(
        fresh, ends, xy=limbs.xy, score=limbs.joint_score, scale=limbs.joint_scale, limb_score=limb_score, id=limbs.id
    )


def add(people: People, is_person: Bool[Array, " P"], fresh: People, is_new: Bool[Array, " C"]) -> People:
    """Those who are still people, then the new ones, from the first slot on."""
    is_kept = jnp.concatenate([is_person, is_new])
    order = jnp.argsort(~is_kept, stable=True)[: len(is_person)]

    def close_ranks(old: Array, new: Array) -> Array:
        rows = jnp.concatenate([old, new])[order]
        return jnp.where(is_kept[order].reshape(-1, *[1] * (rows.ndim - 1)), rows, EMPTY)

    return jax.tree.map(close_ranks, people, fresh)
