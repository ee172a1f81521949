"""What an ED-Pose sees, for figures: people layer by layer, the boxes of their joints, and where joint queries read."""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from querypose_jax.geometry.boxes import from_cxcywh
from querypose_jax.models.deformable.decode import Picks, best_picks, decode_picks, to_pixels
from querypose_jax.models.deformable.proposals import take
from querypose_jax.models.deformable.samples import on_picture
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.edpose.attention import attend_instances
from querypose_jax.models.edpose.decoder import apart
from querypose_jax.models.edpose.model import EDPose
from querypose_jax.models.edpose.outputs import Outputs
from querypose_jax.models.family import Explanation
from querypose_jax.structures import Batch, Poses


def explain(model: EDPose, batch: Batch) -> Explanation:
    """The forward pass of a prediction. Its people are boxes first, of the encoder and of the human decoder's layers,
    then poses, of the human-to-keypoint decoder's."""
    tokens, memory = model.encode(model.maps(batch, train=False, key=None), batch)
    outputs = model.decode_queries(tokens, memory)
    picks = best_picks(outputs.instances.logits[-1], model.config.num_select)
    box_layers, layers = model.config.box_layers, model.config.decoder_layers
    of_boxes = ("encoder", *(f"boxes, layer {layer}" for layer in range(1, box_layers + 1)))
    of_poses = tuple(f"poses, layer {layer}" for layer in range(box_layers + 1, layers + 1))
    _, joint_boxes = apart(outputs.references[-2], 0, model.members)
    corners = from_cxcywh(joint_boxes).reshape(*joint_boxes.shape[:2], -1, 2)
    return Explanation(
        stages=[*boxes_by_layer(outputs, picks, batch), *poses_by_layer(outputs, picks, batch)],
        stage_names=of_boxes + of_poses,
        samples=take(joint_samples(model, outputs, tokens, batch), picks.instance),
        joint_boxes=take(to_pixels(corners, batch).reshape(joint_boxes.shape), picks.instance),
    )


def boxes_by_layer(outputs: Outputs, picks: Picks, batch: Batch) -> list[Poses]:
    """The picked people where they are boxes, the encoder's first; their joints lie in the middle and do not count."""
    people, joints = outputs.people, outputs.instances.points.shape[3]
    stages = []
    for output in (-1, *range(len(people.logits) - 1)):  # the encoder's come last
        logits, boxes = take(people.logits[output], outputs.kept), take(people.boxes[output], outputs.kept)
        middle = jnp.broadcast_to(boxes[:, :, None, :2], (*boxes.shape[:2], joints, 2))
        poses = decode_picks(picks, logits, middle, batch, boxes)
        stages.append(replace(poses, keypoint_scores=jnp.zeros_like(poses.keypoint_scores)))
    return stages


def poses_by_layer(outputs: Outputs, picks: Picks, batch: Batch) -> list[Poses]:
    """The picked people where they are poses."""
    found = outputs.instances
    stages = zip(found.logits, found.points, found.boxes, strict=True)
    return [decode_picks(picks, logits, points, batch, boxes) for logits, points, boxes in stages]


def joint_samples(model: EDPose, outputs: Outputs, tokens: Tokens, batch: Batch) -> Float[Array, "B I K _ 3"]:
    """Where the joint queries read in the last layer: x, y in original pixels and weight."""
    layer = model.layers[-1]
    places, position = model.placed(outputs.references[-2], tokens)
    attend = partial(attend_instances, own_block=None, members=model.members)
    x = layer.between_queries(outputs.queries, position, attend)
    samples = on_picture(*layer.cross_attention.samples(x + position, places, tokens.shapes), tokens, batch)
    return samples.reshape(len(samples), -1, model.members, *samples.shape[2:])[:, :, 1:]
