"""A figure of the deformable families: where the queries of each person sample the maps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from querypose_jax.errors import UserError
from querypose_jax.inference.draw import CENTRE, SUPERSAMPLING, Colour, draw_poses, limb_colour
from querypose_jax.inference.figures import Explained
from querypose_jax.inference.panels import below_each_other, crop, side_by_side
from querypose_jax.inference.prediction import Prediction
from querypose_jax.models.family import Sampling

MARGIN = 0.15  # of the longer side of a person's box, around the cut
RADIUS, SMALLEST_RADIUS = 3.0, 0.8  # pixels of a tile, of the heaviest point of a query and of the lightest
FAINTEST = 0.15  # opacity of a point without weight
PALE = 0.45  # share of white over the picture, so that the points stand out


def draw_sampling(explained: Explained, num_people: int = 4) -> Image.Image:
    """A row per person: its pose, the boxes of its joints, where its own query samples, and where those of its joints
    do, body part by body part. The more a point weighs, the stronger it is drawn.

    Args:
        explained: at least one person.
        num_people: how many rows at most, the best people first.

    Raises:
        UserError: the model's family samples no points.
    """
    if explained.sampling is None:
        raise UserError("draw_sampling: this model samples no points; draw_attention shows where it looks")
    prediction = explained.stages[-1]
    rows = [_row(prediction, explained.sampling, person) for person in range(min(len(prediction), num_people))]
    return below_each_other(rows)


def _row(prediction: Prediction, sampling: Sampling, person: int) -> Image.Image:
    """The tiles of one person."""
    skeleton, one = prediction.skeleton, slice(person, person + 1)
    fields = (prediction.keypoints[one], prediction.keypoint_scores[one], prediction.scores[one])
    around = _around(prediction.boxes[person], prediction.picture.size)
    plain = crop(prediction.picture, around)
    pale = Image.blend(plain, Image.new("RGB", plain.size, (255, 255, 255)), PALE)
    factor = max(plain.size) / max(around[2] - around[0], around[3] - around[1])
    colours = [CENTRE, *(limb_colour((name,)) for name in skeleton.names)]

    tiles = [draw_poses(plain, None, (fields[0] - around[:2]) * factor, *fields[1:], skeleton)]
    captions = [f"score {prediction.scores[person]:.2f}"]
    if sampling.boxes is not None:
        corners = sampling.boxes[person].reshape(-1, 2, 2) - around[:2]
        tiles.append(_with_boxes(pale, corners * factor, colours))
        captions.append("boxes")
    points = (sampling.points[person] - around[:2]) * factor
    groups = [("person", [0]), *((name.replace("_", " "), [j + 1 for j in joints]) for name, joints in skeleton.parts)]
    for name, queries in groups:
        shown = [colours[query] for query in queries]
        tiles.append(_with_points(pale, points[queries], sampling.weights[person][queries], shown))
        captions.append(name)
    return side_by_side(tiles, captions)


def _around(box: Float[np.ndarray, " 4"], size: tuple[int, int]) -> Float[np.ndarray, " 4"]:
    """A person's box and a margin, inside the picture and at least a pixel wide."""
    margin = MARGIN * float((box[2:] - box[:2]).max())
    start = np.clip(np.floor(box[:2] - margin), 0, np.array(size) - 1)
    end = np.clip(np.ceil(box[2:] + margin), start + 1, size)
    return np.concatenate([start, end])


def _with_boxes(tile: Image.Image, corners: Float[np.ndarray, "J 2 2"], colours: Sequence[Colour]) -> Image.Image:
    """A copy with an outline for each query."""
    drawn = tile.copy()
    brush = ImageDraw.Draw(drawn)
    for box, colour in zip(corners.reshape(-1, 4).tolist(), colours, strict=True):
        brush.rectangle(box, outline=colour)
    return drawn


def _with_points(
    tile: Image.Image, points: Float[np.ndarray, "q P 2"], weights: Float[np.ndarray, "q P"], colours: Sequence[Colour]
) -> Image.Image:
    """A copy with a dot for each point, the heaviest of all on top."""
    layer = Image.new("RGBA", (SUPERSAMPLING * tile.width, SUPERSAMPLING * tile.height), (0, 0, 0, 0))
    brush = ImageDraw.Draw(layer)
    strength = weights / weights.max(-1, keepdims=True)
    for i in np.argsort(strength, axis=None, kind="stable"):
        query, point = divmod(int(i), strength.shape[1])
        share = float(strength[query, point])
        x, y = (SUPERSAMPLING * points[query, point]).tolist()
        radius = SUPERSAMPLING * max(RADIUS * np.sqrt(share), SMALLEST_RADIUS)
        alpha = round(255 * (FAINTEST + (1 - FAINTEST) * share))
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colours[query], alpha))
    drawn = tile.convert("RGBA")
    drawn.alpha_composite(layer.reduce(SUPERSAMPLING))
    return drawn.convert("RGB")
