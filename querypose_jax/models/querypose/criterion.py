"""From predictions and matches to the total loss of the cascade."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped
from ml_collections import ConfigDict

from querypose_jax.geometry.boxes import picture_scale
from querypose_jax.geometry.keypoints import to_box_relative
from querypose_jax.models.focal_loss import focal_loss
from querypose_jax.models.querypose.losses import giou_loss, l1_loss, rle_loss
from querypose_jax.models.querypose.outputs import Outputs
from querypose_jax.models.querypose.packing import take_rows
from querypose_jax.structures import Batch


def cascade_loss(
    outputs: Outputs, batch: Batch, config: ConfigDict, log_prob: Callable[[Array], Array]
) -> tuple[Array, dict[str, Array]]:
    """All losses of all stages.

    Each is a sum divided by the number of people of the whole batch (at least 1); keypoints also by K, labelled or not.

    Returns:
        The weighted total, and the unweighted terms: `loss_ce`, `loss_bbox`, `loss_giou`, `loss_kps` of the last
        stage, with the suffix `_i` for stage i before it, as the released code names them.
    """
    people = jnp.maximum(batch.is_person.sum(), 1).astype(outputs.boxes.dtype)
    terms = {
        "loss_ce": (class_sums(outputs, batch, config) / people, config.class_weight),
        **{
            name: (sums / people, weight)
            for name, sums, weight in zip(
                ("loss_bbox", "loss_giou"),
                box_sums(outputs, batch),
                (config.l1_weight, config.giou_weight),
                strict=True,
            )
        },
        "loss_kps": (keypoint_sums(outputs, batch, log_prob) / people, config.keypoint_weight),
    }
    total = sum(weight * values.sum() for values, weight in terms.values())
    stages = outputs.logits.shape[0]
    suffixes = [f"_{stage}" for stage in range(stages - 1)] + [""]
    named = {name + suffix: values[s] for name, (values, _) in terms.items() for s, suffix in enumerate(suffixes)}
    return total, named


def class_sums(outputs: Outputs, batch: Batch, config: ConfigDict) -> Float[Array, " S"]:
    """Focal loss over all queries: matched ones are positive for the class of their person."""
    queries, classes = outputs.logits.shape[-2:]
    is_match = outputs.matches.query < queries
    label = take_slots(batch.label[None], outputs.matches.person)
    positive = jax.nn.one_hot(label, classes) * is_match[..., None]  # S B G C

    def scatter(query, positive):
        return jnp.zeros((queries, classes)).at[query].add(positive, mode="drop")

    target = jax.vmap(jax.vmap(scatter))(outputs.matches.query, positive).astype(outputs.logits.dtype)
    return focal_loss(outputs.logits, target, config.focal_alpha, config.focal_gamma).sum((1, 2, 3))


def box_sums(outputs: Outputs, batch: Batch) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """L1 and GIoU loss over matched pairs."""
    queries = outputs.boxes.shape[-2]
    is_match = (outputs.matches.query < queries)[..., None]
    harmless = jnp.array([0, 0, 1, 1], outputs.boxes.dtype)  # padding pairs: same box, no NaN in the backward pass
    pred = jnp.where(is_match, take_slots(outputs.boxes, outputs.matches.query), harmless)
    gt = jnp.where(is_match, take_slots(jnp.asarray(batch.boxes, pred.dtype)[None], outputs.matches.person), harmless)
    scale = picture_scale(batch.valid_size, pred.dtype)[None, :, None]
    mask = is_match[..., 0]
    l1 = jnp.where(mask, l1_loss(pred, gt, scale), 0)
    giou = jnp.where(mask, giou_loss(pred, gt), 0)
    return l1.sum((1, 2)), giou.sum((1, 2))


def keypoint_sums(outputs: Outputs, batch: Batch, log_prob: Callable[[Array], Array]) -> Float[Array, " S"]:
    """RLE over packed rows, divided by K. Targets are relative to the predicted box, which gets no gradient."""
    rows = outputs.rows
    boxes = jax.lax.stop_gradient(outputs.boxes)
    of_row = jax.vmap(take_rows, in_axes=(0, None, None))
    query = of_row(outputs.matches.query, rows.picture, rows.rank)  # S D R
    person = of_row(outputs.matches.person, rows.picture, rows.rank)
    box = jax.vmap(take_rows, in_axes=(0, None, 0))(boxes, rows.picture, query)
    gt = jnp.asarray(batch.keypoints, boxes.dtype)
    gt = jax.vmap(take_rows, in_axes=(None, None, 0))(gt, rows.picture, person)  # S D R K 3
    is_row = rows.is_row[None, ..., None]
    box = jnp.where(is_row, box, jnp.array([0, 0, 1, 1], box.dtype))
    target, is_labelled = to_box_relative(gt, box)
    terms = rle_loss(log_prob, outputs.xy, outputs.sigma, target, is_labelled & is_row)
    return terms.sum((1, 2, 3, 4)) / outputs.xy.shape[-2]


def take_slots(x: Shaped[Array, "#S B T *C"], index: Int[Array, "S B I"]) -> Shaped[Array, "S B I *C"]:
    """x[s, b, index[s, b]]; indices out of range are clipped."""
    x = jnp.broadcast_to(x, (index.shape[0], *x.shape[1:]))
    return jax.vmap(jax.vmap(lambda x, index: x.at[index].get(mode="clip")))(x, index)
