"""The recipe of SimplePose: one warp in training, scaled and padded at test time.

Joints are pixel indices, as in a COCO file; `decode` adds the half pixel that `Poses` want. The recipe fills the border
itself, so that a picture's final size is its canvas. Where the warp puts a picture depends on its people: after
`draw_geometry`, `aim` brings the middle of their joints to the middle of the canvas.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.recipes.counted import counted_mask, is_left_alone
from querypose_jax.recipes.fit import Fit, fit_picture, fit_size
from querypose_jax.recipes.fit import inverse_affine as inverse_of_fit
from querypose_jax.recipes.recipe import AREA_OF_BOX, Facts, MovedPeople, People, Recipe
from querypose_jax.recipes.warp import (
    DRAWS,
    Colours,
    change_colours,
    draw_colours,
    draw_joint_seeds,
    draw_warp,
    move_joints,
    shift_joints,
    warp_matrix,
    warp_picture,
    warped_loss_mask,
)
from querypose_jax.skeletons import Skeleton

WIDEST = 2  # heights of the widest canvas that is exported where data.eval_resize="height"
CANVAS_STEP = 4  # pixels per cell of the maps; how often pictures can be halved is the model's to check


class AffineGeometry(NamedTuple):
    """What happens to S samples (leading axis S, or none for a single one)."""

    original: np.ndarray
    """int32 [S, 2], h, w."""
    final: np.ndarray
    """int32 [S, 2], h, w of the canvas."""
    matrix: np.ndarray
    """float64 [S, 3, 3], original pixel indices -> those of the network."""
    factors: np.ndarray
    """float64 [S, 2], network pixels per original pixel along the picture's x and y."""
    mirror: np.ndarray
    """bool [S]"""
    is_warped: np.ndarray
    """bool [S]; False: resized and padded."""
    resized: np.ndarray
    """int32 [S, 2], h, w without padding; where nothing is warped."""
    corner: np.ndarray
    """int32 [S, 2], x, y of the top left; where nothing is warped."""
    grey: np.ndarray
    """bool [S]"""
    hsv: np.ndarray
    """float64 [S, 3], see `Colours`."""
    smallest_area: np.ndarray
    """float64 [S], original pixels squared: people so small or smaller lose their labels."""
    joint_seed: np.ndarray
    """uint64 [S], of the shifts of joints, 0: none; see `draw_joint_seeds`."""

    def at(self, sample: int | slice | np.ndarray) -> "AffineGeometry":
        """The geometry of one sample, or of some."""
        return AffineGeometry(*(field[sample] for field in self))


def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict) -> AffineGeometry:
    """The random augmentation of pictures without people; `uniform` is [S, DRAWS], sizes h, w [S, 2]."""
    warp, colours = draw_warp(uniform, data), draw_colours(uniform, data)
    canvas = data.canvases[0]
    nowhere = np.zeros((len(sizes), 2), np.int32)
    return AffineGeometry(
        original=sizes.astype(np.int32),
        final=np.tile(np.array(canvas, np.int32), (len(sizes), 1)),
        matrix=warp_matrix(warp, sizes[:, ::-1] // 2, sizes, canvas),
        factors=warp.factors,
        mirror=warp.mirror,
        is_warped=np.ones(len(sizes), bool),
        resized=nowhere,
        corner=nowhere,
        grey=colours.grey,
        hsv=colours.hsv,
        smallest_area=np.full(len(sizes), float(data.smallest_area)),
        joint_seed=draw_joint_seeds(uniform, data),
    )


def aim(geometry: AffineGeometry, centre: np.ndarray) -> AffineGeometry:
    """The geometry of pictures with people: `centre` [S, 2] is x, y of `labelled_centre`."""
    matrix = geometry.matrix.copy()
    matrix[..., :2, 2] += (geometry.original[..., ::-1] // 2 - centre) * geometry.factors
    return geometry._replace(matrix=matrix)


def rest_geometry(sizes: np.ndarray, data: ConfigDict) -> AffineGeometry:
    """Evaluation and prediction: resized as data.eval_resize says, nothing drawn. `sizes` is h, w [S, 2]."""
    rule, length, multiple = data.eval_resize, data.eval_length, data.eval_multiple
    fits = [fit_size(height, width, rule, length, multiple) for height, width in sizes.tolist()]
    back = np.array([inverse_of_fit(fit, *size) for fit, size in zip(fits, sizes.tolist(), strict=True)], np.float64)
    resized, corner, canvas = (np.array(field, np.int32).reshape(-1, 2) for field in zip(*fits, strict=True))
    matrix = np.tile(np.eye(3), (len(sizes), 1, 1))
    matrix[:, :2] = back
    count = len(sizes)
    return AffineGeometry(
        original=sizes.astype(np.int32),
        final=canvas,
        matrix=np.linalg.inv(matrix),
        factors=1 / back[:, [0, 1], [0, 1]],
        mirror=np.zeros(count, bool),
        is_warped=np.zeros(count, bool),
        resized=resized,
        corner=corner,
        grey=np.zeros(count, bool),
        hsv=np.zeros((count, 3)),
        smallest_area=np.zeros(count),
        joint_seed=np.zeros(count, np.uint64),
    )


def transform_picture(picture: Image.Image, geometry: AffineGeometry) -> Image.Image:
    """Applies one sample's geometry to its pixels; the result fills its canvas."""
    pixels, canvas = np.asarray(picture), tuple(geometry.final.tolist())
    if geometry.is_warped:
        warped = warp_picture(pixels, geometry.matrix, canvas)
        return Image.fromarray(change_colours(warped, Colours(geometry.grey, geometry.hsv)))
    fit = Fit(tuple(geometry.resized.tolist()), tuple(geometry.corner.tolist()), canvas)
    return Image.fromarray(fit_picture(pixels, fit))


def move_people(people: People, geometry: AffineGeometry, skeleton: Skeleton) -> MovedPeople:
    """People through the geometry of each one's sample; boxes are those around the moved corners, on the canvas."""
    x0, y0, x1, y1 = people.boxes.T
    corners = np.stack([np.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], 1)  # T 4 2
    moved = np.einsum("tij,tkj->tki", geometry.matrix[:, :2, :2], corners) + geometry.matrix[:, None, :2, 2]
    limit = geometry.final[:, ::-1]
    boxes = np.concatenate([np.clip(moved.min(1), 0, limit), np.clip(moved.max(1), 0, limit)], -1)
    is_small = people.area <= geometry.smallest_area  # False where the file has no area
    placed = shift_joints(people.keypoints, geometry.joint_seed, people.number)
    joints = move_joints(placed, geometry.matrix, geometry.mirror, skeleton, geometry.final)
    joints = np.where((joints[..., 2:] > 0) & ~is_small[:, None, None], joints, 0)
    whole = (x1 - x0) * (y1 - y0)
    growth = geometry.factors.prod(-1)
    area = np.where(np.isnan(people.area), AREA_OF_BOX * whole, people.area) * growth
    return MovedPeople(
        boxes=boxes.astype(np.float32),
        keypoints=joints.astype(np.float32),
        area=area.astype(np.float32),
        is_left=(boxes[:, 2:] > boxes[:, :2]).all(-1),
        scale=np.sqrt(whole * growth).astype(np.float32),
    )


def loss_mask(
    annotations: Sequence[Mapping[str, Any]], segments: Callable[[], Iterable[np.ndarray]], geometry: AffineGeometry
) -> np.ndarray:
    """bool [H/4, W/4]: cells where losses count, see `counted_mask`. `segments` is called where somebody does not."""
    smallest, mask = float(geometry.smallest_area), None
    if any(is_left_alone(annotation, smallest) for annotation in annotations):
        mask = counted_mask(annotations, segments(), tuple(geometry.original.tolist()), smallest)
    return warped_loss_mask(mask, geometry.matrix, tuple(geometry.final.tolist()))


def canvases(data: ConfigDict) -> list[tuple[int, int]]:
    """Those of evaluation and prediction: one square, or of one height and every width up to WIDEST times that."""
    length, step = data.eval_length, data.eval_multiple
    if data.eval_resize == "long":
        return [(length, length)]
    height = -(-length // step) * step
    return [(height, width) for width in range(step, WIDEST * height + 1, step)]


def inverse_affine(geometry: AffineGeometry) -> np.ndarray:
    """float32 [S, 2, 3]: network pixel indices [x, y, 1] -> those of the file."""
    return np.linalg.inv(geometry.matrix)[..., :2, :].astype(np.float32)


def is_target(facts: Facts, data: ConfigDict) -> np.ndarray:
    """bool [O]: no crowd, somebody with labelled joints."""
    return ~facts.is_crowd & (facts.num_keypoints > 0)


def is_usable(facts: Facts, is_target: np.ndarray) -> np.ndarray:
    """bool [P]: pictures with somebody to train on."""
    return np.bincount(facts.picture_of_object, is_target, minlength=len(facts.size)) > 0


RECIPE = Recipe(
    draws=DRAWS,
    canvas_step=CANVAS_STEP,
    draw_geometry=draw_geometry,
    rest_geometry=rest_geometry,
    transform_picture=transform_picture,
    move_people=move_people,
    inverse_affine=inverse_affine,
    is_target=is_target,
    is_usable=is_usable,
    aim=aim,
    gives_scale=True,
    loss_mask=loss_mask,
    fills_canvas=True,
    canvases=canvases,
)
