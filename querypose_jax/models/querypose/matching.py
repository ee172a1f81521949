"""Matching predictions to people one-to-one (paper section 3.4): the cost of a stage and the assignment."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from kernels.assignment import Matches, assign
from querypose_jax.geometry.boxes import giou, picture_scale
from querypose_jax.structures import Batch

LOG_EPSILON = 1e-8


def matching_cost(
    logits: Float[Array, "B N _"], boxes: Float[Array, "B N 4"], batch: Batch, config: ConfigDict
) -> Float[Array, "B N G"]:
    """Focal class cost + L1 of boxes relative to the picture - GIoU, with the loss weights (`config.model.loss`).

    Columns of padding people hold numbers without meaning.
    """
    alpha, gamma = config.focal_alpha, config.focal_gamma
    probability = jax.nn.sigmoid(logits)
    positive = alpha * (1 - probability) ** gamma * -jnp.log(probability + LOG_EPSILON)
    negative = (1 - alpha) * probability**gamma * -jnp.log(1 - probability + LOG_EPSILON)
    class_cost = jnp.take_along_axis(positive - negative, batch.label[:, None], -1)

    gt = jnp.asarray(batch.boxes, boxes.dtype)
    scale = picture_scale(batch.valid_size, boxes.dtype)[:, None]
    l1_cost = jnp.abs((boxes / scale)[:, :, None] - (gt / scale)[:, None]).sum(-1)
    giou_cost = -giou(boxes[:, :, None], gt[:, None])
    return config.l1_weight * l1_cost + config.class_weight * class_cost + config.giou_weight * giou_cost


def match(
    logits: Float[Array, "*S B N _"],
    boxes: Float[Array, "*S B N 4"],
    batch: Batch,
    config: ConfigDict,
    solver: str = "callback",
) -> Matches:
    """The optimal assignment of a stage's predictions, or of each of S stages in one call; carries no gradient.

    Args:
        config: `config.model.loss`.
        solver: `config.matching.solver`.
    """

    def cost(logits, boxes):
        return matching_cost(logits, boxes, batch, config)

    of_stages = cost if logits.ndim == 3 else jax.vmap(cost)
    return assign(of_stages(jax.lax.stop_gradient(logits), jax.lax.stop_gradient(boxes)), batch.is_person, solver)
