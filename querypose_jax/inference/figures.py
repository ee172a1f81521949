"""The figures of the paper on one's own pictures: where each part looks, and how poses are refined stage by stage."""

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
from querypose_jax.inference.panels import below_each_other, enlarge, heat, side_by_side
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.sources import PictureSource, open_picture
from querypose_jax.inference.threshold import DEFAULT_THRESHOLD, checked_threshold
from querypose_jax.models.family import Explanation, JointExplanation
from querypose_jax.models.registry import family_of
from querypose_jax.structures import Batch, Poses

CROP_SIDE = 200  # pixels of a person in the attention figure
GREY = 0.8  # brightness of the picture under a map

Explain = Callable[[nnx.Module, Batch], Explanation | JointExplanation]


class Explained(NamedTuple):
    """One picture from inside the model; the n reported people of the last stage, best first."""

    stages: list[Prediction]
    """These people at every stage, the prediction last."""
    attention: Float[np.ndarray, "n H W M"]
    """Where in the box of a person each part looks; each map sums to 1."""


def explain_picture(
    predictor: Predictor, source: PictureSource, threshold: float = DEFAULT_THRESHOLD
) -> Explained | ExplainedJoints:
    """Looks inside the model while it predicts one picture.

    Returns:
        Of a cascade its stages, for `draw_stages` and `draw_attention`; of a family that finds joints first its maps,
        for the functions of joint_figures.py.

    Raises:
        PictureError: the picture cannot be read.
        UserError: the model's family offers no such look, or the threshold is none.
    """
    threshold = checked_threshold(threshold)
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
    return Explained(people, inside.attention[0][kept])


def draw_stages(explained: Explained) -> Image.Image:
    """A panel per stage with the boxes and poses of the people that the last stage reports."""
    panels = []
    for stage in explained.stages:
        large, factor = enlarge(stage.picture)
        fields = (stage.boxes * factor, stage.keypoints * factor, stage.keypoint_scores, stage.scores)
        panels.append(draw_poses(large, *fields, stage.skeleton))
    return side_by_side(panels, [f"stage {s}" for s in range(1, len(panels) + 1)])


def draw_attention(explained: Explained, num_people: int = 4) -> Image.Image:
    """A row per person: the person with its pose, then the map of each part over it.

    Args:
        explained: at least one person.
        num_people: how many rows at most, the best people first.
    """
    prediction = explained.stages[-1]
    parts = [name.replace("_", " ") for name, _ in prediction.skeleton.parts]
    large, factor = enlarge(prediction.picture)
    drawn = draw_poses(
        large, None, prediction.keypoints * factor, prediction.keypoint_scores, prediction.scores, prediction.skeleton
    )
    rows = []
    for person in range(min(len(prediction), num_people)):
        box = prediction.boxes[person] * factor
        plain = _crop(large, box)
        maps = np.moveaxis(explained.attention[person], -1, 0)
        tiles = [_crop(drawn, box), *(_overlay(plain, weights) for weights in maps)]
        rows.append(side_by_side(tiles, [f"score {prediction.scores[person]:.2f}", *parts]))
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
        spread=stage.spread[kept],
    )


def _crop(picture: Image.Image, box: np.ndarray) -> Image.Image:
    """What is in a box, its longer side CROP_SIDE pixels."""
    x0, y0, x1, y1 = box.tolist()
    factor = CROP_SIDE / max(x1 - x0, y1 - y0, 1.0)
    size = (max(round((x1 - x0) * factor), 1), max(round((y1 - y0) * factor), 1))
    return picture.resize(size, Image.Resampling.BICUBIC, box=(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))


def _overlay(person: Image.Image, weights: Float[np.ndarray, "h w"]) -> Image.Image:
    """Weights as heat over a grey picture of the person, which shows where the weights are small."""
    level = Image.fromarray(np.uint8(255 * np.sqrt(weights / weights.max()))).resize(
        person.size, Image.Resampling.BILINEAR
    )
    share = np.asarray(level)[..., None] / 255
    grey = np.asarray(person.convert("L"))[..., None] * GREY
    return Image.fromarray(np.uint8(grey * (1 - share) + heat(share[..., 0]) * share))
