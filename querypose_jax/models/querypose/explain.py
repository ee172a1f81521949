"""What the stages of a QueryPose see, for figures: poses of every stage, and where each part looks in the last one."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from querypose_jax.backbones.backbone import normalise
from querypose_jax.models.family import Explanation
from querypose_jax.models.querypose.model import QueryPose
from querypose_jax.structures import Batch


def explain(model: QueryPose, batch: Batch) -> Explanation:
    """Runs all stages on all queries. Slower than prediction, whose poses it gives again (to rounding)."""
    pyramid = model.backbone(normalise(batch, model.dtype), False)
    outputs = model.cascade(pyramid, batch, train=False)
    count, queries = outputs.boxes.shape[1:3]
    cut = [
        jax.tree.map(lambda field, s=s: field[: s + 1], replace(outputs, matches=None, rows=None))
        for s in range(outputs.boxes.shape[0])
    ]
    nowhere = jnp.zeros((count, queries), jnp.int32)  # each picture is its own shard
    maps = model.pose_decoders[-1].attention_maps(pyramid[0], outputs.boxes[-1], nowhere)
    return Explanation(
        stages=[model.decode(stage, batch) for stage in cut],
        stage_names=tuple(f"stage {s}" for s in range(1, len(cut) + 1)),
        attention=maps.reshape(count, queries, *maps.shape[1:]),
    )
