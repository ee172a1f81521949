"""What a Group Pose sees, for figures: the poses of all layers, and where joint queries read in the last one."""

from jaxtyping import Array, Float

from querypose_jax.models.deformable.decode import best_picks, decode_picks
from querypose_jax.models.deformable.proposals import take
from querypose_jax.models.deformable.samples import on_picture
from querypose_jax.models.deformable.tokens import Tokens
from querypose_jax.models.family import Explanation
from querypose_jax.models.grouppose.decoder import on_maps
from querypose_jax.models.grouppose.model import GroupPose
from querypose_jax.models.grouppose.outputs import Outputs
from querypose_jax.structures import Batch


def explain(model: GroupPose, batch: Batch) -> Explanation:
    """The forward pass of a prediction. A layer's poses are those from which the next layer starts."""
    tokens, memory = model.encode(model.maps(batch, train=False, key=None), batch)
    outputs = model.decode_queries(tokens, memory)
    layers = len(model.layers)
    picks = best_picks(outputs.logits[layers - 1], model.config.num_select)
    logits = [outputs.logits[-1], *outputs.logits[:-1]]  # the encoder's come last
    points = outputs.references[:, :, :, 1:]
    return Explanation(
        stages=[decode_picks(picks, *stage, batch) for stage in zip(logits, points, strict=True)],
        stage_names=("encoder", *(f"layer {layer}" for layer in range(1, layers + 1))),
        samples=take(joint_samples(model, outputs, tokens, batch), picks.instance),
    )


def joint_samples(model: GroupPose, outputs: Outputs, tokens: Tokens, batch: Batch) -> Float[Array, "B N K _ 3"]:
    """Where the joint queries read in the last layer: x, y in original pixels and weight."""
    places = on_maps(outputs.references[-2], tokens)
    found = model.layers[-1].samples(outputs.queries, model.positions(places), places, tokens.shapes)
    samples = on_picture(*found, tokens, batch)
    return samples.reshape(*outputs.queries.shape[:3], *samples.shape[2:])[:, :, 1:]
