"""Synthetic people: articulated frontal figures with 17 COCO joints, drawn with Pillow.

Figures stand, 70-130 pixels high, arms from hanging to raised; they may overlap each other, be covered by a shape
or leave the picture. They look at the viewer, so their left side is on the right of the picture. Every picture is a
pure function of (seed, split, index). All lengths of the body are fractions of its height.

Drawing happens at twice the size in RGBA: averaging 2x2 pixels gives sub-pixel edges, and the fourth channel holds who
was painted last at a pixel, which decides whether a joint is visible (2) or hidden by somebody or something (1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SCALE = 2  # drawn pixels per picture pixel
NOBODY, SHAPE = 0, 255  # owners of a pixel beside the figures, which count from 1
BOX_MARGIN = 0.06  # of the height, around the joints
AREA_OF_BOX = 0.53  # segment area as a share of the box, the figure CrowdPose uses
MIN_JOINTS_INSIDE = 9  # a figure that shows fewer is placed again
MAX_OVERLAP = 0.3  # IoU of two figures' boxes above which the second is placed again
SPLITS = {"train": 0, "val": 1}

Color = tuple[int, int, int]


class Drawing(NamedTuple):
    """A picture and its P people; coordinates in pixels."""

    image: np.ndarray
    """uint8 [height, width, 3]"""
    boxes: np.ndarray
    """float64 [P, 4] xyxy, clipped to the picture."""
    keypoints: np.ndarray
    """float64 [P, 17, 3] as a COCO file has them: pixel index (continuous coordinate - 0.5), visibility."""


class Look(NamedTuple):
    """The colours of a figure."""

    skin: Color
    hair: Color
    shirt: Color
    sleeves: tuple[Color, Color]
    trousers: tuple[Color, Color]
    shins: tuple[Color, Color]


def draw_people(seed: int, split: str, index: int, height: int, width: int, max_people: int) -> Drawing:
    """Draws picture `index` of a split: background, shapes behind, 1 to max_people figures, shapes in front, noise."""
    rng = np.random.default_rng([seed, SPLITS[split], index])
    canvas = _background(rng, height, width)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 5)):
        _draw_shape(pen, rng, height, width, rng.uniform(8, 45), NOBODY)
    joints = place_figures(rng, height, width, int(rng.integers(1, max_people + 1)))
    for owner, body in enumerate(joints, start=1):
        _draw_figure(pen, body, _random_look(rng), owner)
    for _ in range(rng.integers(0, 3)):
        _draw_shape(pen, rng, height, width, rng.uniform(6, 18), SHAPE)
    owners = np.asarray(canvas.getchannel("A"))
    pixels = np.asarray(canvas.convert("RGB").reduce(SCALE)).astype(np.int16)
    strength = int(rng.integers(2, 13))
    pixels += rng.integers(-strength, strength + 1, pixels.shape, dtype=np.int16)
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    return Drawing(image, figure_boxes(joints, height, width), _with_visibility(joints, owners, height, width))


def place_figures(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Joints of up to `count` figures that do not cover each other too much, back to front.

    Returns:
        float64 [P, 17, 2], continuous pixel coordinates, 1 <= P <= count.
    """
    placed: list[np.ndarray] = []
    for _ in range(20 * count):
        body = _random_joints(rng, height, width)
        inside = ((body >= 0) & (body <= (width, height))).all(-1).sum()
        box = figure_boxes(body[None], height, width)[0]
        others = figure_boxes(np.asarray(placed).reshape(-1, 17, 2), height, width)
        if inside >= MIN_JOINTS_INSIDE and all(_iou(box, other) <= MAX_OVERLAP for other in others):
            placed.append(body)
        if len(placed) == count:
            break
    return np.asarray(placed or [_upright_joints(height, width)])


def figure_boxes(joints: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [P, 4] xyxy around joints [P, 17, 2] with a margin, clipped to the picture."""
    low, high = joints.min(1), joints.max(1)
    margin = BOX_MARGIN * _body_height(joints)[:, None]
    return np.clip(np.concatenate([low - margin, high + margin], -1), 0, (width, height, width, height))


def _body_height(joints: np.ndarray) -> np.ndarray:
    return joints[:, (15, 16), 1].max(1) - joints[:, 0, 1] + 0.08


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(w, 0.0) * max(h, 0.0)
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def _random_joints(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    tall = rng.uniform(70, 130) * min(height / 160, width / 192)
    top = rng.uniform(-0.03 * height, height - 0.96 * tall)
    centre = rng.uniform(0.05, 0.95) * width
    limbs = dict(
        arms=rng.uniform(0.05, 2.0, 2), elbows=rng.uniform(-0.6, 1.2, 2),
        legs=rng.uniform(0.0, 0.3, 2), knees=rng.uniform(-0.15, 0.1, 2),
    )  # fmt: skip
    body = _joints(**limbs, turn=rng.uniform(-0.2, 0.2), lean=rng.uniform(-0.08, 0.08))
    return body * tall + (centre, top)


def _upright_joints(height: int, width: int) -> np.ndarray:
    """What stands in the picture when every random placement was refused."""
    body = _joints(arms=(0.2, 0.2), elbows=(0, 0), legs=(0.1, 0.1), knees=(0, 0), turn=0, lean=0)
    return body * 0.7 * height + (width / 2, 0.15 * height)


def _joints(arms: Sequence, elbows: Sequence, legs: Sequence, knees: Sequence, turn: float, lean: float) -> np.ndarray:
    """The 17 joints of a body of height 1 whose head top is at the origin; angles in rad away from hanging down.

    `turn` moves nose and eyes sideways (fraction of the head's width), `lean` rotates the whole body about the hips.
    """
    points = np.zeros((17, 2))
    points[0] = (0.06 * turn, 0.085)
    for side, sign in enumerate((1, -1)):  # left is on the right of the picture
        points[1 + side] = (sign * 0.03 + 0.06 * turn, 0.06)
        points[3 + side] = (sign * 0.068, 0.07)
        shoulder, hip = np.array((sign * 0.115, 0.2)), np.array((sign * 0.075, 0.51))
        elbow = shoulder + 0.17 * _direction(sign, arms[side])
        knee = hip + 0.235 * _direction(sign, legs[side])
        points[5 + side], points[7 + side] = shoulder, elbow
        points[9 + side] = elbow + 0.15 * _direction(sign, arms[side] + elbows[side])
        points[11 + side], points[13 + side] = hip, knee
        points[15 + side] = knee + 0.225 * _direction(sign, legs[side] + knees[side])
    cos, sin = np.cos(lean), np.sin(lean)
    pivot = (0, 0.51)
    return (points - pivot) @ np.array(((cos, sin), (-sin, cos))) + pivot


def _direction(sign: int, angle: float) -> np.ndarray:
    return np.array((sign * np.sin(angle), np.cos(angle)))


def _with_visibility(joints: np.ndarray, owners: np.ndarray, height: int, width: int) -> np.ndarray:
    x, y = joints[..., 0], joints[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column = np.clip((x * SCALE).astype(int), 0, owners.shape[1] - 1)
    row = np.clip((y * SCALE).astype(int), 0, owners.shape[0] - 1)
    own = owners[row, column] == np.arange(1, len(joints) + 1)[:, None]
    labelled = np.dstack([x - 0.5, y - 0.5, np.where(own, 2, 1)])
    return np.where(inside[..., None], labelled, 0.0)


def _background(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Random patches, blurred or blocky; the alpha channel says that nobody is there yet."""
    cells = rng.integers(2, 14)
    base, contrast = rng.integers(40, 200, 3), rng.integers(10, 60)
    colors = base + rng.integers(-contrast, contrast + 1, (cells, cells, 3))
    patches = Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8))
    kind = Image.Resampling.NEAREST if rng.random() < 0.4 else Image.Resampling.BICUBIC
    canvas = patches.resize((width * SCALE, height * SCALE), kind).convert("RGBA")
    canvas.putalpha(NOBODY)
    return canvas


def _draw_shape(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, height: int, width: int, size: float, owner: int
) -> None:
    """A distractor: ellipse, rectangle or bar. With owner SHAPE it hides the joints behind it."""
    fill = (*_color(rng), owner)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    w, h = size * rng.uniform(0.5, 1.5, 2)
    corners = [(x - w / 2) * SCALE, (y - h / 2) * SCALE, (x + w / 2) * SCALE, (y + h / 2) * SCALE]
    kind = rng.integers(3)
    if kind == 0:
        pen.ellipse(corners, fill)
    elif kind == 1:
        pen.rectangle(corners, fill)
    else:
        pen.line(corners, fill, width=int(SCALE * rng.integers(2, 7)))


def _color(rng: np.random.Generator, low: int = 0, high: int = 256) -> Color:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _random_look(rng: np.random.Generator) -> Look:
    """Skin, hair and clothes; the two sides and the upper and lower limbs differ, as light and clothes make them."""
    light = rng.uniform(0.55, 1.0)
    skin = tuple(int(c * light) for c in (240, 200, 170))
    shirt, trousers = _color(rng), _color(rng)
    shins = skin if rng.random() < 0.4 else _color(rng)
    return Look(
        skin=skin,
        hair=_color(rng, 0, 110),
        shirt=shirt,
        sleeves=(_shaded(shirt, 0.75), _shaded(shirt, 1.3)),
        trousers=(_shaded(trousers, 0.75), _shaded(trousers, 1.15)),
        shins=(_shaded(shins, 0.8), _shaded(shins, 1.1)),
    )


def _shaded(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, int(c * factor + 12)) for c in color)
    return red, green, blue


def _draw_figure(pen: ImageDraw.ImageDraw, joints: np.ndarray, look: Look, owner: int) -> None:
    """Legs, torso, arms, head, from back to front. Lines and discs only, all filled with (colour, owner)."""
    p = joints * SCALE
    unit = float(_body_height(joints[None])[0] / 0.9 * SCALE)  # drawn pixels of the whole height, nearly

    def limb(a: int, b: int, color: Color, thickness: float) -> None:
        pen.line([*p[a], *p[b]], (*color, owner), width=max(2, round(thickness * unit)))
        disc(p[a], thickness / 2, color)
        disc(p[b], thickness / 2, color)

    def disc(centre: np.ndarray, radius: float, color: Color) -> None:
        r = max(1.0, radius * unit)
        pen.ellipse([centre[0] - r, centre[1] - r, centre[0] + r - 1, centre[1] + r - 1], (*color, owner))

    for side in (0, 1):
        limb(13 + side, 15 + side, look.shins[side], 0.055)
        limb(11 + side, 13 + side, look.trousers[side], 0.075)
    pen.polygon([tuple(p[j]) for j in (5, 6, 12, 11)], (*look.shirt, owner))
    for a, b in ((5, 6), (5, 11), (6, 12)):
        limb(a, b, look.shirt, 0.05)
    limb(11, 12, look.trousers[0], 0.06)
    for side in (0, 1):
        limb(7 + side, 9 + side, look.skin, 0.042)
        limb(5 + side, 7 + side, look.sleeves[side], 0.055)
        disc(p[9 + side], 0.03, _shaded(look.skin, 0.85))
        disc(p[3 + side], 0.022, _shaded(look.skin, 0.75))
    head = (p[3] + p[4]) / 2
    pen.line([*head, *((p[5] + p[6]) / 2)], (*look.skin, owner), width=max(2, round(0.06 * unit)))
    disc(head - np.array((0, 0.015 * unit)), 0.068, look.hair)
    disc(head + np.array((0, 0.01 * unit)), 0.06, look.skin)
    for eye in (p[1], p[2]):
        disc(eye, 0.013, (20, 20, 40))
    disc(p[0], 0.014, _shaded(look.skin, 0.55))
