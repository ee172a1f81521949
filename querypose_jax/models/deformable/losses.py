"""Terms of the criterion (section 12 of Group Pose, 14 of ED-Pose): focal, joint L1, OKS, box L1 and GIoU.

The first functions compare element by element, those that end in `_sums` sum over the matched people of each of S
outputs (decoder layers, encoder); the caller divides by the number of people.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from kernels.assignment import Matches
from querypose_jax.geometry.boxes import from_cxcywh, giou
from querypose_jax.models.deformable.targets import Targets
from querypose_jax.models.focal_loss import focal_loss

SMALLEST_OKS = 1e-6  # released
COUNT_EPSILON = 1e-6  # added to the number of labelled joints, released
GIOU_EPSILON = 1e-6  # added to union and hull, released
NOBODY = -1  # column of a query that is matched to nobody


def keypoint_l1(
    xy: Float[Array, "*#B K 2"], target: Float[Array, "*#B K 2"], is_labelled: Bool[Array, "*#B K"]
) -> Float[Array, "*B"]:
    """Sum of |dx| + |dy| over the labelled joints."""
    return jnp.where(is_labelled, jnp.abs(xy - target).sum(-1), 0).sum(-1)


def oks(
    xy: Float[Array, "*#B K 2"],
    target: Float[Array, "*#B K 2"],
    is_labelled: Bool[Array, "*#B K"],
    area: Float[Array, "*#B"],
    sigmas: Sequence[float],
) -> Float[Array, "*B"]:
    """Object keypoint similarity in [0, 1], with distances and areas relative to the picture: on a picture that is not
    square it is not the evaluation's."""
    distance = jnp.square(xy - target).sum(-1)
    spread = 2 * area[..., None] * jnp.square(2 * jnp.array(sigmas, xy.dtype))
    similarity = jnp.where(is_labelled, jnp.exp(-distance / spread), 0).sum(-1)
    return similarity / (is_labelled.sum(-1) + COUNT_EPSILON).astype(xy.dtype)


def oks_loss(
    xy: Float[Array, "*#B K 2"],
    target: Float[Array, "*#B K 2"],
    is_labelled: Bool[Array, "*#B K"],
    area: Float[Array, "*#B"],
    sigmas: Sequence[float],
) -> Float[Array, "*B"]:
    """1 - OKS: linear, not its logarithm."""
    return 1 - jnp.maximum(oks(xy, target, is_labelled, area, sigmas), SMALLEST_OKS)


def box_giou(a: Float[Array, "*#B 4"], b: Float[Array, "*#B 4"]) -> Float[Array, "*B"]:
    """Generalised IoU of boxes (cx, cy, w, h)."""
    return giou(from_cxcywh(a), from_cxcywh(b), GIOU_EPSILON)


def class_sums(
    logits: Float[Array, "*S B N c"], column: Int[Array, "*S B N"], alpha: float, gamma: float
) -> Float[Array, "*S"]:
    """Focal loss over all queries and columns; `column` says which one is positive, none where it is out of range."""
    target = jax.nn.one_hot(column, logits.shape[-1], dtype=logits.dtype)
    return focal_loss(logits, target, alpha, gamma).sum((-3, -2, -1))


def matched_columns(matches: Matches, column: Int[Array, "B G"], queries: int) -> Int[Array, "S B N"]:
    """The column of each query's person, NOBODY for queries without one."""
    mine = take_slots(column[None], matches.person)  # S B G

    def put(query, column):
        return jnp.full(queries, NOBODY, column.dtype).at[query].set(column, mode="drop")

    return jax.vmap(jax.vmap(put))(matches.query, mine)


def keypoint_sums(points: Float[Array, "S B N K 2"], matches: Matches, targets: Targets) -> Float[Array, " S"]:
    """Joint L1 over matched people."""
    xy, is_labelled, _ = matched_people(matches, targets)
    return masked_sum(keypoint_l1(take_slots(points, matches.query), xy, is_labelled), matches, points.shape[2])


def oks_sums(
    points: Float[Array, "S B N K 2"], matches: Matches, targets: Targets, sigmas: Sequence[float]
) -> Float[Array, " S"]:
    """1 - OKS over matched people."""
    xy, is_labelled, area = matched_people(matches, targets)
    terms = oks_loss(take_slots(points, matches.query), xy, is_labelled, area, sigmas)
    return masked_sum(terms, matches, points.shape[2])


def box_sums(
    boxes: Float[Array, "S B N 4"], matches: Matches, targets: Targets
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """L1 and 1 - GIoU of boxes over matched people."""
    queries = boxes.shape[2]
    mine, theirs = take_slots(boxes, matches.query), take_slots(targets.boxes[None], matches.person)
    l1, generalised = jnp.abs(mine - theirs).sum(-1), 1 - box_giou(mine, theirs)
    return masked_sum(l1, matches, queries), masked_sum(generalised, matches, queries)


def matched_people(
    matches: Matches, targets: Targets
) -> tuple[Float[Array, "S B G K 2"], Bool[Array, "S B G K"], Float[Array, "S B G"]]:
    """xy, is_labelled and area of each pair's person."""
    xy, is_labelled, area = (
        take_slots(x[None], matches.person) for x in (targets.xy, targets.is_labelled, targets.area)
    )
    return xy, is_labelled, area


def masked_sum(terms: Float[Array, "S B G"], matches: Matches, queries: int) -> Float[Array, " S"]:
    """Sum over the pairs that are real."""
    return jnp.where(matches.query < queries, terms, 0).sum((1, 2))


def take_slots(x: Shaped[Array, "#S B n *c"], index: Int[Array, "S B i"]) -> Shaped[Array, "S B i *c"]:
    """x[s, b, index[s, b]]; indices out of range are clipped."""
    x = jnp.broadcast_to(x, (index.shape[0], *x.shape[1:]))
    return jax.vmap(jax.vmap(lambda x, index: x.at[index].get(mode="clip")))(x, index)
