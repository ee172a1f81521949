"""A model from inside, on one's own pictures: where parts or joints look, and how poses are refined stage by stage."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.batching import inference_batch
from querypose_jax.inference.draw import draw_poses
from querypose_jax.inference.joint_figures import ExplainedJoints, explained_joints
from querypose_jax.inference.panels import below_each_other, enlarge, side_by_side
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.sources import PictureSource, open_picture
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.tiles import joint_tiles, part_tiles
from querypose_jax.models.family import Explanation, JointExplanation
from querypose_jax.models.registry import family_of
from querypose_jax.structures import Batch, Poses

TILES_IN_A_ROW = 9  # of the attention figure; a person with more takes several rows

Explain = Callable[[nnx.Module, Batch], Explanation | JointExplanation]


class Explained(NamedTuple):
    """One picture from inside the model; the n reported people of the last stage, best first."""

    stages: list[Prediction]
    """These people at every stage, the prediction last."""
    stage_names: tuple[str, ...]
    attention: Float[np.ndarray, "n H W M"] | None
    """Where in the box of a person each part looks, each map sums to 1; None where joints look instead."""
    samples: Float[np.ndarray, "n K _ 3"] | None
    """Where each joint looks in the last stage: x, y (pixels of the picture) and weight; the weights of a joint sum to
    1. None where parts look instead."""
    joint_boxes: Float[np.ndarray, "n K 4"] | None
    """The box of each joint that its samples lie over, xyxy; None where joints are points."""


def explain_picture(
    predictor: Predictor, source: PictureSource, threshold: float | None = None
) -> Explained | ExplainedJoints:
    """Looks inside the model while it predicts one picture.

    Returns:
        Of a cascade its stages, for `draw_stages` and `draw_attention`; of a family that finds joints first its maps,
        for the functions of joint_figures.py.

    Raises:
        PictureError: the picture cannot be read.
        UserError: the model's family offers no such look, or the threshold is none.
    """
    threshold = checked_threshold(threshold, predictor.threshold.score)
    name, picture = open_picture(source)
    config = predictor.config
    explain = family_of(config).explain
    if explain is None:
        raise UserError(f"explain_picture: models of the family {config.model.name!r} cannot be looked into")
    canvas = predictor.canvas(picture.height, picture.width)
    batch = inference_batch([picture], canvas, predictor.recipe, config.data, predictor.skeleton.num_keypoints)
    inside = jax.device_get(_run(explain, predictor.model, batch))
    if isinstance(inside, JointExplanation):
        return explained_joints(inside, batch, predictor.skeleton, picture, threshold, name)
    stages = [jax.tree.map(lambda field: field[0], stage) for stage in inside.stages]
    last = stages[-1]
    order = np.argsort(-last.scores, kind="stable")
    kept = order[(last.valid & (last.scores >= threshold))[order]]
    people = [_people(stage, kept, picture, predictor, name) for stage in stages]
    looks = (inside.attention, inside.samples, inside.joint_boxes)
    return Explained(people, inside.stage_names, *(None if look is None else look[0][kept] for look in looks))


def draw_stages(explained: Explained) -> Image.Image:
    """A panel per stage with the boxes and poses of the people that the last stage reports."""
    panels = []
    for stage in explained.stages:
        large, factor = enlarge(stage.picture)
        fields = (stage.boxes * factor, stage.keypoints * factor, stage.keypoint_scores, stage.scores)
        panels.append(draw_poses(large, *fields, stage.skeleton))
    return side_by_side(panels, explained.stage_names)


def draw_attention(explained: Explained, num_people: int = 4) -> Image.Image:
    """For each person its pose, then a tile for each part with its map, or for each joint with the places it reads.

    Args:
        explained: at least one person.
        num_people: how many people at most, the best first.
    """
    prediction = explained.stages[-1]
    skeleton = prediction.skeleton
    large, factor = enlarge(prediction.picture)
    drawn = draw_poses(
        large, None, prediction.keypoints * factor, prediction.keypoint_scores, prediction.scores, skeleton
    )
    rows = []
    for person in range(min(len(prediction), num_people)):
        box = prediction.boxes[person] * factor
        if explained.samples is None:
            names = [name for name, _ in skeleton.parts]
            tiles = part_tiles(large, drawn, box, explained.attention[person])
        else:
            names = list(skeleton.names)
            scale = (factor, factor, 1)
            joints = prediction.keypoints[person] * factor
            boxes = None if explained.joint_boxes is None else explained.joint_boxes[person] * factor
            tiles = joint_tiles(large, drawn, box, joints, explained.samples[person] * scale, boxes)
        captions = [f"score {prediction.scores[person]:.2f}", *(name.replace("_", " ") for name in names)]
        for start in range(0, len(tiles), TILES_IN_A_ROW):
            row = slice(start, start + TILES_IN_A_ROW)
            rows.append(side_by_side(tiles[row], captions[row]))
    return below_each_other(rows)


@partial(nnx.jit, static_argnums=0)
def _run(explain: Explain, model: nnx.Module, batch: Batch) -> Explanation | JointExplanation:
    return explain(model, batch)


def _people(stage: Poses, kept: np.ndarray, picture: Image.Image, predictor: Predictor, name: str) -> Prediction:
    """The same queries at one stage, in the order given."""
    return Prediction(
        picture=picture,
        skeleton=predictor.skeleton,
        scores=stage.scores[kept],
        labels=stage.labels[kept],
        boxes=stage.boxes[kept],
        keypoints=stage.keypoints[kept],
        keypoint_scores=stage.keypoint_scores[kept],
        name=name,
        spread=None if stage.spread is None else stage.spread[kept],
    )
