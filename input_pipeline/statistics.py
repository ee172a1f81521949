"""The numbers that decide canvases and budgets: sizes, people, visibility, and the plan of an epoch."""

from collections import Counter

import numpy as np
from ml_collections import ConfigDict

from input_pipeline.annotations import Annotations, count_per_picture
from input_pipeline.batching import PlannedBatch, check_batch_size, plan_block, usable_rows
from querypose_jax.recipes import get_recipe
from querypose_jax.skeletons import Skeleton

QUANTILES = (0, 10, 50, 90, 100)  # percent
MAX_BLOCKS = 40  # blocks of the plan that are looked at


def describe(annotations: Annotations, is_target: np.ndarray, skeleton: Skeleton) -> dict:
    """Pictures, people who are trained on and their joints. Sizes in pixels, heights relative to the picture."""
    a, people = annotations, count_per_picture(annotations, is_target)
    owners = a.picture_of_object[is_target]
    visibility = a.keypoints[is_target][..., 2]
    height = a.bbox[is_target, 3] / a.size[owners, 0]
    return {
        "pictures": a.num_pictures,
        "people": int(people.sum()),
        "people with labelled joints": int((visibility > 0).any(-1).sum()),
        "crowds": int(a.is_crowd.sum()),
        "height": quantiles(a.size[:, 0]),
        "width": quantiles(a.size[:, 1]),
        "landscape": round(float((a.size[:, 1] > a.size[:, 0]).mean()), 4) if a.num_pictures else 0.0,
        "people per picture": quantiles(people),
        "pictures by people": np.bincount(people).tolist(),
        "height of people": quantiles(height),
        "people by height": np.histogram(height, bins=10, range=(0, 1))[0].tolist(),
        "visibility": {  # shares of unlabelled, hidden, visible
            name: [round(float((visibility[:, j] == v).mean()), 4) if len(visibility) else 0.0 for v in (0, 1, 2)]
            for j, name in enumerate(skeleton.names)
        },
    }


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Values at QUANTILES, keyed by percent."""
    if not len(values):
        return {}
    return {f"{q}%": round(float(v), 4) for q, v in zip(QUANTILES, np.percentile(values, QUANTILES), strict=True)}


def describe_plan(annotations: Annotations, config: ConfigDict, shards: int) -> dict:
    """What the first epoch's plan costs in padding, packed rows and compiled programs."""
    data = config.data
    check_batch_size(data.batch_size, shards)
    recipe = get_recipe(data.recipe)
    usable = usable_rows(annotations, recipe, recipe.is_target(annotations, data), data.keep_empty)
    epoch = len(usable) / data.batch_size
    blocks = int(np.clip(-(-epoch // data.block_batches), 1, MAX_BLOCKS))
    planned = [batch for block in range(blocks) for batch in plan_block(annotations, config, shards, block)]
    left_out = sum(batch.samples.targets.num_cut for batch in planned[:: data.block_batches])  # one figure per block
    return describe_batches(planned) | {"people beyond data.max_people": left_out}


def describe_batches(planned: list[PlannedBatch]) -> dict:
    """Padding, rows and programs of training batches."""
    pixels = sum(int(b.samples.geometry.final[b.members].prod(-1).sum()) for b in planned)
    canvas = sum(len(b.members) * b.canvas[0] * b.canvas[1] for b in planned)
    people = sum(int(b.samples.targets.people[b.members].sum()) for b in planned)
    slots = sum(b.budget.shards * b.budget.people for b in planned if b.budget)
    programs = Counter((*b.canvas, *([b.budget.people] if b.budget else [])) for b in planned)
    return {
        "batches": len(planned),
        "padding": round(1 - pixels / canvas, 4),
        "canvases": len({b.canvas for b in planned}),
        "programs": len(programs),
        "batches by height, width, people": {" ".join(map(str, key)): n for key, n in sorted(programs.items())},
        "budgeted per person": round(slots / max(people, 1), 3),
        "people per batch": round(people / len(planned), 2),
    }
