"""From predictions to the total loss (section 12): each output is matched to the people and compared on its own."""

from collections.abc import Sequence

import jax
from jaxtyping import Array
from ml_collections import ConfigDict

from kernels.assignment import Matches, assign
from querypose_jax.models.deformable.costs import class_cost, keypoint_cost, oks_cost
from querypose_jax.models.deformable.losses import class_sums, keypoint_sums, matched_columns, oks_sums
from querypose_jax.models.deformable.targets import Targets, make_targets, number_of_people
from querypose_jax.models.grouppose.outputs import Outputs
from querypose_jax.structures import Batch


def match(outputs: Outputs, targets: Targets, config: ConfigDict, sigmas: Sequence[float], solver: str) -> Matches:
    """The optimal assignment of every output, all in one call: nothing of it goes back into the network.

    The cost has the weights of the losses (`config` is config.model.loss); it carries no gradient.
    """
    logits, points = jax.lax.stop_gradient((outputs.logits, outputs.points))
    cost = (
        config.class_weight * class_cost(logits, targets, config.focal_alpha, config.focal_gamma)
        + config.keypoint_weight * keypoint_cost(points, targets)
        + config.oks_weight * oks_cost(points, targets, sigmas)
    )
    return assign(cost, targets.is_person, solver)


def grouppose_loss(
    outputs: Outputs, batch: Batch, config: ConfigDict, sigmas: Sequence[float], solver: str
) -> tuple[Array, dict[str, Array]]:
    """All losses of all outputs, each a sum divided by the number of people of the whole batch (at least 1).

    Returns:
        The weighted total, and the unweighted terms: `loss_ce`, `loss_keypoints`, `loss_oks` of the last layer, with
        the suffix `_i` for layer i before it and `_interm` for the encoder, as the released code names them.
    """
    targets = make_targets(batch, outputs.points.dtype)
    matches = match(outputs, targets, config, sigmas, solver)
    queries = outputs.logits.shape[2]
    column = matched_columns(matches, targets.column, queries)
    weights = {
        "loss_ce": config.class_weight,
        "loss_keypoints": config.keypoint_weight,
        "loss_oks": config.oks_weight,
    }
    sums = {
        "loss_ce": class_sums(outputs.logits, column, config.focal_alpha, config.focal_gamma),
        "loss_keypoints": keypoint_sums(outputs.points, matches, targets),
        "loss_oks": oks_sums(outputs.points, matches, targets, sigmas),
    }
    people = number_of_people(batch, targets.xy.dtype)
    terms = {name: values / people for name, values in sums.items()}
    total = sum(weights[name] * values.sum() for name, values in terms.items())
    suffixes = output_suffixes(len(outputs.logits) - 1)
    return total, {name + suffix: values[s] for name, values in terms.items() for s, suffix in enumerate(suffixes)}


def output_suffixes(layers: int) -> list[str]:
    """Of the released names of losses, in the order of the outputs."""
    return [*(f"_{layer}" for layer in range(layers - 1)), "", "_interm"]
