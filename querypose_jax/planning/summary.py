"""What a run is about to do, in a few lines before the first compilation."""

import math

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.checkpoints.train_state import trainable
from querypose_jax.models.registry import abstract_model
from querypose_jax.planning.flops import flops_by_part
from querypose_jax.skeletons import get_skeleton
from querypose_jax.structures import Batch


def model_summary(config: ConfigDict) -> str:
    """A table: parameters and FLOPs of each part. Allocates nothing, compiles nothing.

    FLOPs are those of predicting one picture on the largest canvas, nothing left out. A training step takes about
    three times its forward pass.
    """
    graphdef, state = abstract_model(config)
    trained = set(named_leaves(nnx.split_state(state, trainable(config.optimizer.freeze), ...)[0]))
    counts: dict[str, list[int]] = {}
    for name, leaf in named_leaves(state).items():
        row = counts.setdefault(part_of(name), [0, 0])
        row[name not in trained] += math.prod(leaf.shape)
    canvas = max(config.data.canvases, key=math.prod)
    batch = picture_shapes(canvas, get_skeleton(config.data.skeleton).num_keypoints)
    flops = flops_by_part(lambda state, batch: nnx.merge(graphdef, state)(batch, train=False), state, batch)
    lines = [_row("", "parameters", "not trained", "GFLOP")]
    for part, (moving, fixed) in counts.items():
        scope = part.split(".")[-1]  # modules name their scopes like their attributes
        lines.append(_row(part, moving, fixed, flops.get(scope, 0.0) / 1e9))
    lines.append(_row("all", *np.sum(list(counts.values()), 0).tolist(), sum(flops.values()) / 1e9))
    model = config.model
    title = f"model {model.name}, {model.dtype}; GFLOP: one picture of {canvas[0]}x{canvas[1]}"
    return "\n".join([title, *lines])


def data_summary(pictures: int, people: int, config: ConfigDict, devices: int, left_out: str = "") -> str:
    """What there is to train on, what was left out of it if anything, and what a step takes of it."""
    data, train = config.data, config.train
    epochs = train.num_steps * data.batch_size / max(pictures, 1)
    on = "1 device" if devices == 1 else f"{devices} devices"
    budgets = f" x {len(data.people_ladder)} budgets of people" if data.people_ladder else ""
    return (
        f"data {data.name}, split {data.train_split}: {pictures:,} pictures, {people:,} people "
        f"({people / max(pictures, 1):.1f} per picture){left_out and f'; {left_out}'}\n"
        f"{train.num_steps:,} steps of {data.batch_size} pictures on {on}: {epochs:.1f} epochs; "
        f"up to {len(data.canvases)} canvases{budgets} to compile for"
    )


def part_of(name: str) -> str:
    """The part of a model that a parameter's dotted path belongs to: trunk and pyramid of the backbone apart."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.split('.')[0]}" if first == "backbone" else first


def picture_shapes(canvas: tuple[int, int], num_keypoints: int) -> Batch:
    """A batch of one picture without people, as shapes."""

    def shape(*sizes: int, dtype: type = np.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype)

    return Batch(
        image=shape(1, *canvas, 3, dtype=np.uint8),
        valid_size=shape(1, 2, dtype=np.int32),
        orig_size=shape(1, 2, dtype=np.int32),
        image_id=shape(1, dtype=np.int32),
        inv_affine=shape(1, 2, 3),
        boxes=shape(1, 1, 4),
        keypoints=shape(1, 1, num_keypoints, 3),
        area=shape(1, 1),
        label=shape(1, 1, dtype=np.int32),
        is_person=shape(1, 1, dtype=np.bool_),
    )


def _row(name: str, *cells: str | int | float) -> str:
    """One line of the table; a dash for what is zero."""
    formats = {str: "{}", int: "{:,}", float: "{:,.2f}"}
    texts = [formats[type(cell)].format(cell) if cell else "-" for cell in cells]
    return f"{name:<20}" + "".join(f"{text:>14}" for text in texts)
