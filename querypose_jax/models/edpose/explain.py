"""What an ED-Pose sees, for figures: people by layer, the boxes of their joints, and where their queries sample."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from querypose_jax.geometry.boxes import from_cxcywh
from querypose_jax.models.deformable.decode import Picks, on_picture, pick, picked_poses
from querypose_jax.models.deformable.proposals import take
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.edpose.attention import attend_instances
from querypose_jax.models.edpose.model import EDPose
from querypose_jax.models.edpose.outputs import Outputs
from querypose_jax.models.family import Explanation, Sampling
from querypose_jax.structures import Batch, Poses


def explain(model: EDPose, batch: Batch) -> Explanation:
    """A prediction from inside. Its people at every stage: as the encoder proposes them, as boxes of the human
    decoder's layers, as poses of the human-to-keypoint decoder's."""
    tokens, memory = model.encode(model.maps(batch, False, None), batch)
    outputs = model.decode_queries(tokens, memory)
    picks = pick(outputs.instances.logits[-1], model.config.num_select)
    box_layers, pose_layers = model.config.box_layers, len(outputs.instances.logits)
    captions = (
        "encoder",
        *(f"boxes {layer}" for layer in range(1, box_layers + 1)),
        *(f"poses {layer}" for layer in range(1, pose_layers + 1)),
    )
    stages = [*boxes_by_layer(outputs, picks, batch), *poses_by_layer(outputs, picks, batch)]
    return Explanation(stages, captions, sampling=sampling(model, outputs, tokens, picks, batch))


def boxes_by_layer(outputs: Outputs, picks: Picks, batch: Batch) -> list[Poses]:
    """The picked people where they are boxes, the encoder's first; their joints lie in the centre and do not count."""
    joints = outputs.instances.points.shape[3]
    people = outputs.people
    stages = []
    for output in (len(people.logits) - 1, *range(len(people.logits) - 1)):  # the encoder's is the last there
        logits, boxes = (take(x[output], outputs.kept) for x in (people.logits, people.boxes))
        centres = jnp.broadcast_to(boxes[:, :, None, :2], (*boxes.shape[:2], joints, 2))
        poses = picked_poses(rescored(picks, logits), centres, batch, boxes)
        stages.append(replace(poses, keypoint_scores=jnp.zeros_like(poses.keypoint_scores)))
    return stages


def poses_by_layer(outputs: Outputs, picks: Picks, batch: Batch) -> list[Poses]:
    """The picked people where they are poses."""
    found = outputs.instances
    return [
        picked_poses(rescored(picks, logits), points, batch, boxes)
        for logits, points, boxes in zip(found.logits, found.points, found.boxes, strict=True)
    ]


def rescored(picks: Picks, logits: Float[Array, "B I c"]) -> Picks:
    """The same people with their scores in another layer."""
    of_people = take(jax.nn.sigmoid(logits), picks.instance)
    return picks._replace(scores=jnp.take_along_axis(of_people, picks.column[..., None], -1)[..., 0])


def sampling(model: EDPose, outputs: Outputs, tokens: Tokens, picks: Picks, batch: Batch) -> Sampling:
    """Where the queries of the picked people read the maps in the last layer."""
    layer, references = model.layers[-1], outputs.references[-2]
    places, position = model.placed(references, tokens)
    attend = partial(attend_instances, own_block=None, members=model.members)
    x = layer.among_queries(outputs.last, position.astype(outputs.last.dtype), attend)
    locations, weights = layer.cross_attention.samples(x + position.astype(x.dtype), places, tokens.shapes)
    relative = locations / tokens.valid_ratios[:, None, None, :, None]  # of padded maps -> of the picture
    by_query = lambda values, *last: take(values.reshape(len(values), -1, model.members, *last), picks.instance)
    heads, levels, samples = weights.shape[2:]
    points, boxes = by_query(relative, heads * levels * samples, 2), by_query(from_cxcywh(references), 2, 2)
    return Sampling(
        points=in_pixels(points, batch),
        weights=by_query(weights, heads * levels * samples) / heads,
        boxes=in_pixels(boxes, batch).reshape(*boxes.shape[:-2], 4),
    )


def in_pixels(points: Float[Array, "B n J k 2"], batch: Batch) -> Float[Array, "B n J k 2"]:
    """Points relative to the picture in original pixels."""
    pictures, people = points.shape[:2]
    return on_picture(points.reshape(pictures, people, -1, 2), batch).reshape(points.shape)
