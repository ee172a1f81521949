"""From predictions to the total loss (section 14): each output is matched to the people and compared on its own."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from kernels.assignment import Matches, assign
from querypose_jax.models.deformable.costs import box_cost, class_cost, giou_cost, keypoint_cost, oks_cost
from querypose_jax.models.deformable.losses import (
    box_giou,
    box_sums,
    class_sums,
    keypoint_sums,
    matched_columns,
    oks_sums,
)
from querypose_jax.models.deformable.targets import Targets, make_targets, number_of_people
from querypose_jax.models.edpose.outputs import Denoised, Instances, Outputs, People
from querypose_jax.structures import Batch

Sums = dict[str, Float[Array, " S"]]


def match(
    people: People, instances: Instances, targets: Targets, config: ConfigDict, sigmas: Sequence[float], solver: str
) -> tuple[Matches, Matches]:
    """The optimal assignments of all outputs in one call of the solver: of people, and of instances. No gradient.

    Instances get queries that cost too much to be taken, as many as people have more.
    """
    people, instances = jax.lax.stop_gradient((people, instances))
    of_people = people_cost(people, targets, config)
    of_instances = instance_cost(instances, targets, config, sigmas)
    outputs, queries, kept = len(of_people), of_people.shape[2], of_instances.shape[2]
    of_instances = jnp.pad(of_instances, ((0, 0), (0, 0), (0, queries - kept), (0, 0)), constant_values=jnp.inf)
    query, person = assign(jnp.concatenate([of_people, of_instances]), targets.is_person, solver)
    in_range = jnp.minimum(query[outputs:], kept)
    return Matches(query[:outputs], person[:outputs]), Matches(in_range, person[outputs:])


def people_cost(people: People, targets: Targets, config: ConfigDict) -> Float[Array, "S B N G"]:
    """Of outputs without joints: by class, box and GIoU, with the weights of the losses (`config` is
    config.model.loss)."""
    return (
        config.class_weight * class_cost(people.logits, targets, config.focal_alpha, config.focal_gamma)
        + config.box_weight * box_cost(people.boxes, targets)
        + config.giou_weight * giou_cost(people.boxes, targets)
    )


def instance_cost(
    instances: Instances, targets: Targets, config: ConfigDict, sigmas: Sequence[float]
) -> Float[Array, "S B I G"]:
    """Of outputs with joints: by class, joints and OKS; boxes do not count."""
    return (
        config.class_weight * class_cost(instances.logits, targets, config.focal_alpha, config.focal_gamma)
        + config.keypoint_weight * keypoint_cost(instances.points, targets)
        + config.oks_weight * oks_cost(instances.points, targets, sigmas)
    )


def output_sums(outputs: People | Instances, matches: Matches, targets: Targets, config: ConfigDict) -> Sums:
    """Losses that all matched outputs have, summed over the batch."""
    column = matched_columns(matches, targets.column, outputs.logits.shape[2])
    l1, giou = box_sums(outputs.boxes, matches, targets)
    return {
        "loss_ce": class_sums(outputs.logits, column, config.focal_alpha, config.focal_gamma),
        "loss_bbox": l1,
        "loss_giou": giou,
    }


def denoising_means(denoised: Denoised, config: ConfigDict, pictures: int) -> Sums:
    """Losses of the denoising queries: a sum over neighbouring pictures, divided by the queries of one picture.

    The release sums over the pictures of a device. Here groups have `pictures_per_group` pictures (or all of a smaller
    batch) and are averaged, so that numbers do not depend on how many devices share the batch of so many `pictures`.
    """
    queries = denoised.column.shape[1]
    groups = max(pictures / config.pictures_per_group, 1)
    column = jnp.broadcast_to(denoised.column, denoised.logits.shape[:-1])
    sums = {
        "dn_loss_ce": class_sums(denoised.logits, column, config.focal_alpha, config.focal_gamma),
        "dn_loss_bbox": jnp.abs(denoised.boxes - denoised.target).sum((1, 2, 3)),
        "dn_loss_giou": (1 - box_giou(denoised.boxes, denoised.target)).sum((1, 2)),
    }
    return {name: values / (queries * groups) for name, values in sums.items()}


def edpose_loss(
    outputs: Outputs, batch: Batch, config: ConfigDict, sigmas: Sequence[float], solver: str
) -> tuple[Array, dict[str, Array]]:
    """All losses of all outputs; those of matched outputs are sums divided by the number of people of the whole batch
    (at least 1).

    Returns:
        The weighted total, and the unweighted terms: `loss_ce`, `loss_bbox`, `loss_giou`, of pose layers
        `loss_keypoints`, `loss_oks`, of denoising queries `dn_loss_ce`, `dn_loss_bbox`, `dn_loss_giou`; with the suffix
        `_i` for layer i but the last, and `_interm` for the encoder, as the released code names them.
    """
    targets = make_targets(batch, outputs.instances.points.dtype)
    of_people, of_instances = match(outputs.people, outputs.instances, targets, config, sigmas, solver)
    instance_sums = output_sums(outputs.instances, of_instances, targets, config) | {
        "loss_keypoints": keypoint_sums(outputs.instances.points, of_instances, targets),
        "loss_oks": oks_sums(outputs.instances.points, of_instances, targets, sigmas),
    }
    number = number_of_people(batch, targets.xy.dtype)
    people_terms = {name: x / number for name, x in output_sums(outputs.people, of_people, targets, config).items()}
    instance_terms = {name: x / number for name, x in instance_sums.items()}

    box_layers, pose_layers = len(outputs.people.logits) - 1, len(outputs.instances.logits)
    suffixes = layer_suffixes(box_layers + pose_layers)
    terms = by_name(people_terms, [*suffixes[:box_layers], "_interm"]) | by_name(instance_terms, suffixes[box_layers:])
    if outputs.denoised is not None:
        pictures = len(batch.image_id) if batch.whole is None else batch.whole.pictures
        terms |= by_name(denoising_means(outputs.denoised, config, pictures), suffixes)
    weights = term_weights(config)
    total = jnp.stack([weights[term_of(name)] * value for name, value in terms.items()]).sum()
    return total, terms


def layer_suffixes(layers: int) -> list[str]:
    """Of the released names of losses, by decoder layer."""
    return [*(f"_{layer}" for layer in range(layers - 1)), ""]


def by_name(terms: Sums, suffixes: Sequence[str]) -> dict[str, Array]:
    """Terms of several outputs apart, under their released names."""
    return {name + suffix: values[s] for name, values in terms.items() for s, suffix in enumerate(suffixes)}


def term_weights(config: ConfigDict) -> dict[str, float]:
    """Weights by released names of terms."""
    return {
        "loss_ce": config.class_weight,
        "loss_bbox": config.box_weight,
        "loss_giou": config.giou_weight,
        "loss_keypoints": config.keypoint_weight,
        "loss_oks": config.oks_weight,
        "dn_loss_ce": config.denoising_class_weight,
        "dn_loss_bbox": config.denoising_box_weight,
        "dn_loss_giou": config.denoising_giou_weight,
    }


def term_of(name: str) -> str:
    """loss_ce of loss_ce_0 and loss_ce_interm."""
    return name.removesuffix("_interm").rstrip("_0123456789")
