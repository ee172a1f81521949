"""Figures of a family that finds joints first: heatmap of a joint, offsets of a limb, limbs as they are joined."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from querypose_jax.errors import UserError
from querypose_jax.inference.draw import draw_poses, limb_colour
from querypose_jax.inference.panels import below_each_other, enlarge, heat, side_by_side
from querypose_jax.inference.prediction import Prediction, prediction_from_poses
from querypose_jax.models.family import JointExplanation
from querypose_jax.skeletons import Skeleton
from querypose_jax.structures import Batch

GREY = 0.8  # brightness of the picture under a map
LIKELY = 0.2  # of a heatmap: cells from which offsets are drawn
PANEL_SIDE, COLUMNS = 260, 5  # pixels of a panel's longer side, panels in a row
FAINT = 0.3  # largest score with which limbs that were joined before are drawn: the faintest
ARROW_HEAD = 0.3  # of an arrow's length, at most ARROW_PIXELS
ARROW_PIXELS = 8.0


class ExplainedJoints(NamedTuple):
    """One picture from inside the model."""

    prediction: Prediction
    steps: list[Prediction]
    """Who there is after each limb of `skeleton.limbs`, whatever the score; [n] differs from step to step."""
    heatmaps: Float[np.ndarray, "h w K"]
    """How likely each joint is at each cell of the network's input."""
    offsets: Float[np.ndarray, "h w E 2"]
    """From a cell near the start of each limb to its end, pixels of the picture."""
    centres: Float[np.ndarray, "h w 2"]
    """x, y of each cell's middle, continuous pixels of the picture."""


def explained_joints(
    inside: JointExplanation, batch: Batch, skeleton: Skeleton, picture: Image.Image, threshold: float, name: str
) -> ExplainedJoints:
    """What a model says about a batch of one picture, in its pixels."""
    inverse = np.asarray(batch.inv_affine[0])
    heatmaps = inside.heatmaps[0]
    rows, columns = np.indices(heatmaps.shape[:2])
    network = inside.stride * np.stack([columns, rows], -1) + (inside.stride - 1) / 2
    first, *steps = [jax.tree.map(lambda x: x[0], poses) for poses in (inside.poses, *inside.steps)]
    return ExplainedJoints(
        prediction=prediction_from_poses(first, picture, skeleton, threshold, name),
        steps=[prediction_from_poses(poses, picture, skeleton, 0.0, name) for poses in steps],
        heatmaps=heatmaps,
        offsets=inside.offsets[0] @ inverse[:, :2].T,
        centres=network @ inverse[:, :2].T + inverse[:, 2] + 0.5,
    )


def draw_heatmap(explained: ExplainedJoints, joint: str) -> Image.Image:
    """Where a joint is likely, as heat over the picture in grey.

    Raises:
        UserError: there is no such joint.
    """
    values = explained.heatmaps[..., place_of(joint, explained.prediction.skeleton.names, "joint")]
    return side_by_side([under_heat(explained, values)], [joint.replace("_", " ")])


def draw_offsets(explained: ExplainedJoints, limb: tuple[str, str]) -> Image.Image:
    """Arrows from where the start of a limb is likely to where the model says that its end is.

    Args:
        explained: of a picture.
        limb: names of its start and its end, one of the skeleton's limbs.

    Raises:
        UserError: there is no such limb.
    """
    skeleton = explained.prediction.skeleton
    named = [tuple(skeleton.names[joint] for joint in ends) for ends in skeleton.limbs]
    place = place_of(tuple(limb), named, "limb")
    start = skeleton.limbs[place][0]
    large, factor = enlarge(explained.prediction.picture.convert("L").convert("RGB"))
    brush = ImageDraw.Draw(large)
    for row, column in np.argwhere(explained.heatmaps[..., start] >= LIKELY):
        tail = explained.centres[row, column] * factor - 0.5
        draw_arrow(brush, tail, explained.offsets[row, column, place] * factor, limb_colour(tuple(limb)))
    return side_by_side([large], [" to ".join(limb).replace("_", " ")])


def draw_joining(explained: ExplainedJoints) -> Image.Image:
    """A panel per kind of limb, in the order in which they are joined: the people so far, the earlier limbs faint.

    Unsure joints are faint, too: many people of two or three of them are left out at the end.
    """
    panels, captions = [], []
    kinds = explained.prediction.skeleton.limbs
    for number, (step, ends) in enumerate(zip(explained.steps, kinds, strict=True), start=1):
        small = step.picture.copy()
        small.thumbnail((PANEL_SIDE, PANEL_SIDE))
        factor = small.width / step.picture.width
        is_new = np.isin(np.arange(step.skeleton.num_keypoints), ends)
        scores = np.where(is_new, step.keypoint_scores, np.minimum(step.keypoint_scores, FAINT))
        limbs = replace(step.skeleton, edges=kinds[:number])
        panels.append(draw_poses(small, None, step.keypoints * factor, scores, step.scores, limbs))
        start, end = (step.skeleton.names[joint].replace("_", " ") for joint in ends)
        captions.append(f"{number} {start} - {end}")
    rows = range(0, len(panels), COLUMNS)
    return below_each_other([side_by_side(panels[i : i + COLUMNS], captions[i : i + COLUMNS]) for i in rows])


def place_of(wanted: object, known: Sequence, what: str) -> int:
    """Where a name is; raises UserError with those that there are."""
    if wanted not in known:
        listed = ", ".join(" to ".join(name) if isinstance(name, tuple) else name for name in known)
        raise UserError(f"{wanted!r} is no {what} of this model; known: {listed}")
    return list(known).index(wanted)


def under_heat(explained: ExplainedJoints, values: Float[np.ndarray, "h w"]) -> Image.Image:
    """The picture in grey with a map over it; 1 and more is brightest, 0 and less shows the picture."""
    large, factor = enlarge(explained.prediction.picture)
    first, step = explained.centres[0, 0] * factor, (explained.centres[1, 1] - explained.centres[0, 0]) * factor
    scale, shift = 1 / step, 0.5 - first / step  # pixel of the picture -> cell, both with 0.5 at the first centre
    where = (scale[0], 0, shift[0], 0, scale[1], shift[1])
    level = Image.fromarray(np.clip(values, 0, 1).astype(np.float32))
    share = np.asarray(level.transform(large.size, Image.Transform.AFFINE, where, Image.Resampling.BILINEAR))
    share = np.clip(share, 0, 1)[..., None]
    grey = np.asarray(large.convert("L"))[..., None] * GREY
    colours = heat(np.append(share[..., 0], np.ones((1, large.width), np.float32), 0))[:-1]  # of 1, not of the largest
    return Image.fromarray(np.uint8(grey * (1 - share) + colours * share))


def draw_arrow(brush: ImageDraw.ImageDraw, tail: np.ndarray, way: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A line with a head of two short ones."""
    tip = tail + way
    brush.line((*tail.tolist(), *tip.tolist()), fill=colour, width=1)
    length = float(np.hypot(*way))
    if length == 0:
        return
    back = -way / length * min(ARROW_HEAD * length, ARROW_PIXELS)
    for turn in (0.5, -0.5):  # radians
        side = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ back
        brush.line((*tip.tolist(), *(tip + side).tolist()), fill=colour, width=1)
