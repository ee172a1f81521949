"""Poses drawn on pictures: left and right in two colours, thickness by size, unsure joints faded and in ellipses.

Everything is drawn on a transparent layer of twice the size, which is then reduced (antialiasing) and laid over the
picture, so that the picture itself keeps every pixel.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.skeletons import Skeleton

# Blue and orange stay apart for colour-blind eyes too; the middle is neither.
LEFT, RIGHT, CENTRE = (38, 139, 255), (255, 122, 26), (90, 220, 130)
OUTLINE = (16, 18, 24)
DOT_RIM = (255, 255, 255)
BOX = (255, 255, 255)

LIMB_WIDTH = 0.014  # of the longer side of the person's box
LIMB_PIXELS = 1.5, 0.010  # thinnest (pixels) and thickest (of the picture's longer side)
SURE, UNSURE = 0.7, 0.3  # joint scores from which a joint is drawn in full, up to which it is faintest
FAINTEST = 0.3  # opacity
ELLIPSE_FILL, ELLIPSE_LINE = 0.14, 0.55  # opacity of the ellipses of unsure joints
ELLIPSE_SCALE = 0.3  # radius relative to the predicted scale, so that neighbouring joints stay apart
LARGEST_ELLIPSE = 0.1  # radius relative to the longer side of the box: what is larger says "anywhere"
SUPERSAMPLING = 2
SUPERSAMPLED_PIXELS = 12_000_000  # pictures with more pixels are sharp enough as they are (and the layer is large)

Colour = tuple[int, int, int]


def draw_poses(
    picture: Image.Image,
    boxes: Float[np.ndarray, "n 4"] | None,
    keypoints: Float[np.ndarray, "n K 2"],
    keypoint_scores: Float[np.ndarray, "n K"],
    scores: Float[np.ndarray, " n"],
    skeleton: Skeleton,
    threshold: float = 0.0,
    spread: Float[np.ndarray, "n K 2"] | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """A copy of `picture` (RGB) with people drawn on it, the best on top.

    Args:
        picture: any size; coordinates are its pixels.
        boxes: xyxy, drawn with the person's label; None draws neither.
        keypoints: x, y, continuous; they may lie outside.
        keypoint_scores: 0 to 1; a joint with score 0 is not drawn (unlabelled, in ground truth).
        scores: people below `threshold` are not drawn.
        skeleton: edges, and names that start with left_ or right_.
        spread: scale of the error of x and y; a joint gets an ellipse where ELLIPSE_SCALE of it is wider than its dot.
        labels: what stands at the boxes; None stands for the scores.

    Raises:
        UserError: the threshold is no number from 0 to 1.
    """
    threshold = checked_threshold(threshold)
    factor = SUPERSAMPLING if picture.width * picture.height <= SUPERSAMPLED_PIXELS else 1
    layer = Image.new("RGBA", (picture.width * factor, picture.height * factor), (0, 0, 0, 0))
    brush = ImageDraw.Draw(layer)
    shown = [i for i in np.argsort(scores, kind="stable") if scores[i] >= threshold]
    for i in shown:
        seen = keypoint_scores[i] > 0
        width = _limb_width(keypoints[i][seen] if boxes is None else boxes[i].reshape(2, 2), picture.size) * factor
        if boxes is not None:
            _draw_box(brush, boxes[i] * factor, width)
        joints = keypoints[i] * factor - 0.5
        if spread is not None and seen.any():
            largest = LARGEST_ELLIPSE * float(np.ptp(keypoints[i][seen], axis=0).max())
            radii = np.minimum(ELLIPSE_SCALE * spread[i], largest) * factor
            layer.alpha_composite(_ellipses(layer.size, joints, radii, keypoint_scores[i], skeleton, width))
        _draw_person(brush, joints, keypoint_scores[i], skeleton, width)
    if boxes is not None:  # last, so that no limb crosses a number
        for i in shown:
            if text := labels[i] if labels else f"{scores[i]:.2f}":
                _draw_label(brush, boxes[i] * factor, text, layer.size)
    drawn = picture.convert("RGBA")
    drawn.alpha_composite(layer.reduce(factor) if factor > 1 else layer)
    return drawn.convert("RGB")


def limb_colour(names: tuple[str, ...]) -> Colour:
    """LEFT where every sided end of a limb (or joint) is left, RIGHT likewise, CENTRE for both or neither."""
    left = any(name.startswith("left_") for name in names)
    right = any(name.startswith("right_") for name in names)
    return CENTRE if left == right else LEFT if left else RIGHT


def joint_opacity(score: float) -> float:
    """1 for sure joints, FAINTEST for unsure ones, linear between, 0 for a score of 0."""
    if score <= 0:
        return 0.0
    return FAINTEST + (1 - FAINTEST) * min(max((score - UNSURE) / (SURE - UNSURE), 0.0), 1.0)


def _limb_width(points: np.ndarray, picture_size: tuple[int, int]) -> float:
    """Picture pixels; points are the corners of the box, or the joints."""
    size = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    thinnest, thickest = LIMB_PIXELS[0], max(LIMB_PIXELS[0], LIMB_PIXELS[1] * max(picture_size))
    return min(max(LIMB_WIDTH * size, thinnest), thickest)


def _draw_person(
    brush: ImageDraw.ImageDraw, joints: np.ndarray, joint_scores: np.ndarray, skeleton: Skeleton, width: float
) -> None:
    opacity = [joint_opacity(float(score)) for score in joint_scores]
    limbs = [(min(opacity[a], opacity[b]), a, b) for a, b in skeleton.edges]
    limbs = sorted(limb for limb in limbs if limb[0] > 0)  # faint limbs first, sure ones over them
    for grow, is_outline in ((0.6 * width, True), (0.0, False)):
        for alpha, a, b in limbs:
            colour = OUTLINE if is_outline else limb_colour((skeleton.names[a], skeleton.names[b]))
            _draw_limb(brush, joints[a], joints[b], width * (0.5 + 0.5 * alpha) + grow, _with_alpha(colour, alpha))

    for j in np.argsort(opacity, kind="stable"):
        if opacity[j] > 0:
            radius = width * (0.55 + 0.45 * opacity[j])
            rim = max(0.35 * width, 1.0)
            _draw_dot(brush, joints[j], radius + rim, _with_alpha(DOT_RIM, opacity[j]))
            _draw_dot(brush, joints[j], radius, _with_alpha(limb_colour((skeleton.names[j],)), opacity[j]))


def _ellipses(
    size: tuple[int, int],
    joints: np.ndarray,
    radii: np.ndarray,
    joint_scores: np.ndarray,
    skeleton: Skeleton,
    width: float,
) -> Image.Image:
    """A layer of its own with an ellipse for each joint that is less certain than its dot is wide."""
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    brush = ImageDraw.Draw(layer)
    shown = [j for j in range(len(joints)) if joint_scores[j] > 0 and radii[j].max() > width]
    for j in sorted(shown, key=lambda j: -radii[j].max()):
        colour = limb_colour((skeleton.names[j],))
        (x, y), (rx, ry) = joints[j].tolist(), radii[j].tolist()
        brush.ellipse(
            (x - rx, y - ry, x + rx, y + ry),
            fill=_with_alpha(colour, ELLIPSE_FILL),
            outline=_with_alpha(colour, ELLIPSE_LINE),
            width=max(round(0.2 * width), 1),
        )
    return layer


def _draw_limb(brush: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, width: float, colour: tuple) -> None:
    """A thick line with round ends."""
    along = end - start
    length = float(np.hypot(*along))
    if length > 0:
        across = np.array([-along[1], along[0]]) / length * width / 2
        corners = (start + across, end + across, end - across, start - across)
        brush.polygon([tuple(map(float, corner)) for corner in corners], fill=colour)
    for point in (start, end):
        _draw_dot(brush, point, width / 2, colour)


def _draw_dot(brush: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple) -> None:
    x, y = map(float, centre)
    brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _draw_box(brush: ImageDraw.ImageDraw, box: np.ndarray, width: float) -> None:
    x0, y0, x1, y1 = map(float, box)
    if x1 > x0 and y1 > y0:
        line = max(round(0.4 * width), 1)
        brush.rounded_rectangle((x0, y0, x1, y1), radius=2 * width, outline=_with_alpha(BOX, 0.7), width=line)


def _draw_label(brush: ImageDraw.ImageDraw, box: np.ndarray, text: str, layer_size: tuple[int, int]) -> None:
    """A text on a dark tab above the top left corner of the box, inside of it where there is no room."""
    height = min(max(0.022 * max(layer_size), 18.0), 0.15 * layer_size[1])
    font = ImageFont.load_default(size=0.8 * height)
    width = font.getlength(text) + 0.5 * height
    x = min(max(float(box[0]), 0.0), layer_size[0] - width)
    y = float(box[1]) - height if box[1] >= height else max(float(box[1]), 0.0)
    brush.rounded_rectangle((x, y, x + width, y + height), radius=0.25 * height, fill=_with_alpha(OUTLINE, 0.75))
    brush.text((x + width / 2, y + height / 2), text, font=font, fill=(255, 255, 255, 255), anchor="mm")


def _with_alpha(colour: Colour, alpha: float) -> tuple[int, int, int, int]:
    return (*colour, round(255 * alpha))
