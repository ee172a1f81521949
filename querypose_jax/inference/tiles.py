"""Tiles of the attention figure: a person cut out of the picture, and over it where a part or a joint looks."""

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from querypose_jax.inference.panels import heat

SIDE = 200  # pixels, the longer one of a tile
GREY = 0.8  # brightness of the picture under what is looked at
SURROUNDINGS = 0.35  # of the longer side of a box, on all sides: joints look beyond it
LARGEST_DOT, SMALLEST_DOT = 4.0, 1.0  # pixels, radius; the heaviest sample of a joint has the largest
RING = 7.0  # pixels, radius of the ring around the joint
RING_COLOUR = (90, 220, 130)
SUPERSAMPLING = 3


def part_tiles(
    plain: Image.Image, drawn: Image.Image, box: Float[np.ndarray, "4"], maps: Float[np.ndarray, "H W M"]
) -> list[Image.Image]:
    """The person in its box with its pose, then with the map of each part.

    Args:
        plain: the picture.
        drawn: the picture with poses on it.
        box: xyxy, pixels of the picture.
        maps: weights over the box.
    """
    person = cut_out(plain, box)
    return [cut_out(drawn, box), *(draw_map(person, weights) for weights in np.moveaxis(maps, -1, 0))]


def joint_tiles(
    plain: Image.Image,
    drawn: Image.Image,
    box: Float[np.ndarray, "4"],
    joints: Float[np.ndarray, "K 2"],
    samples: Float[np.ndarray, "K _ 3"],
    joint_boxes: Float[np.ndarray, "K 4"] | None = None,
) -> list[Image.Image]:
    """The person and what is around it with its pose, then with the samples of each joint, a ring at the joint and the
    joint's box.

    Args:
        plain, drawn, box: as in `part_tiles`.
        joints: x, y, pixels of the picture.
        samples: x, y, pixels of the picture, and weight. What lies outside of the tile is not seen.
        joint_boxes: xyxy, pixels of the picture; None where joints have none.
    """
    frame = with_surroundings(box, plain.size)
    person = cut_out(plain, frame)
    scale = np.array(person.size) / (frame[2:] - frame[:2])
    tiles = [cut_out(drawn, frame)]
    boxes = [None] * len(joints) if joint_boxes is None else (joint_boxes.reshape(-1, 2, 2) - frame[:2]) * scale
    for joint, places, own in zip(joints, samples, boxes, strict=True):
        xy, weights = (places[:, :2] - frame[:2]) * scale, places[:, 2]
        tiles.append(draw_samples(person, (joint - frame[:2]) * scale, xy, weights, own))
    return tiles


def with_surroundings(box: Float[np.ndarray, "4"], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """The box and what is around it on a picture of this width and height; at least a pixel."""
    margin = SURROUNDINGS * max(box[2] - box[0], box[3] - box[1])
    limit = np.array([size[0], size[1]], float)
    low = np.clip(box[:2] - margin, 0, limit - 1)
    return np.concatenate([low, np.clip(box[2:] + margin, low + 1, limit)])


def cut_out(picture: Image.Image, box: Float[np.ndarray, "4"]) -> Image.Image:
    """What is in a box, its longer side SIDE pixels."""
    x0, y0, x1, y1 = box.tolist()
    factor = SIDE / max(x1 - x0, y1 - y0, 1.0)
    size = (max(round((x1 - x0) * factor), 1), max(round((y1 - y0) * factor), 1))
    return picture.resize(size, Image.Resampling.BICUBIC, box=(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))


def draw_map(person: Image.Image, weights: Float[np.ndarray, "h w"]) -> Image.Image:
    """Weights as heat over a grey picture of the person, which shows where the weights are small."""
    level = Image.fromarray(np.uint8(255 * np.sqrt(weights / weights.max()))).resize(
        person.size, Image.Resampling.BILINEAR
    )
    share = np.asarray(level)[..., None] / 255
    return Image.fromarray(np.uint8(in_grey(person) * (1 - share) + heat(share[..., 0]) * share))


def draw_samples(
    person: Image.Image,
    joint: Float[np.ndarray, "2"],
    xy: Float[np.ndarray, "S 2"],
    weights: Float[np.ndarray, " S"],
    box: Float[np.ndarray, "2 2"] | None = None,
) -> Image.Image:
    """Samples as dots over a grey picture of the person, the heavier the larger and brighter, the heaviest on top; over
    them the joint and its box, if it has one (its corners), in outline."""
    share = weights / max(float(weights.max()), np.finfo(float).tiny)
    colours = heat(share[None])[0]
    ground = Image.fromarray(np.uint8(np.broadcast_to(in_grey(person), (person.height, person.width, 3))))
    layer = Image.new("RGBA", (person.width * SUPERSAMPLING, person.height * SUPERSAMPLING), (0, 0, 0, 0))
    brush = ImageDraw.Draw(layer)
    for i in np.argsort(share, kind="stable"):
        radius = max(LARGEST_DOT * np.sqrt(share[i]), SMALLEST_DOT)
        brush.ellipse(circle(xy[i], radius), fill=(*colours[i].tolist(), 230))
    if box is not None:
        corners = tuple((box * SUPERSAMPLING).ravel().tolist())
        brush.rectangle(corners, outline=(*RING_COLOUR, 255), width=SUPERSAMPLING)
    brush.ellipse(circle(joint, RING), outline=(*RING_COLOUR, 255), width=SUPERSAMPLING)
    ground = ground.convert("RGBA")
    ground.alpha_composite(layer.reduce(SUPERSAMPLING))
    return ground.convert("RGB")


def circle(centre: Float[np.ndarray, "2"], radius: float) -> tuple[float, float, float, float]:
    """Its bounding box on the supersampled layer."""
    (x, y), r = (centre * SUPERSAMPLING).tolist(), float(radius) * SUPERSAMPLING
    return x - r, y - r, x + r, y + r


def in_grey(person: Image.Image) -> Float[np.ndarray, "h w 1"]:
    """Brightness from 0 to 255 times GREY."""
    return np.asarray(person.convert("L"))[..., None] * GREY
