"""Augmentation beyond a recipe's own, off by default (`config.data.augment`): rotation, scale, colours, blur.

A recipe is wrapped, not changed: a picture is first turned and scaled around its middle and stays as large as it is,
then the recipe does what it always does, then colours change. A recipe's own draws are the same with and without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageEnhance, ImageFilter

from querypose_jax.recipes.recipe import MovedPeople, People, Recipe
from querypose_jax.recipes.warp import between, warp_picture
from querypose_jax.skeletons import Skeleton

DRAWS = 8  # uniform numbers per sample that `draw` takes
ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
OFF = {
    "rotate": 0.0,
    "scales": (1.0, 1.0),
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "blur": 0.0,
}


class Augmentation(NamedTuple):
    """What happens to S samples beside their recipe (leading axis S, or none for a single one)."""

    matrix: np.ndarray
    """float64 [S, 3, 3], original pixels (continuous) -> turned and scaled on a canvas of the same size."""
    growth: np.ndarray
    """float64 [S], by which lengths grow."""
    factors: np.ndarray
    """float64 [S, 3], of brightness, contrast and saturation; 1 leaves them."""
    hue: np.ndarray
    """float64 [S], turns of the colour circle."""
    blur: np.ndarray
    """float64 [S], sigma in network pixels; 0: none."""


class Augmented(NamedTuple):
    """A recipe's geometry, and what comes on top."""

    inner: Any
    extra: Augmentation

    def at(self, sample: int | slice | np.ndarray) -> "Augmented":
        """The geometry of one sample, or of some."""
        return Augmented(self.inner.at(sample), Augmentation(*(field[sample] for field in self.extra)))

    @property
    def original(self) -> np.ndarray:
        return self.inner.original

    @property
    def final(self) -> np.ndarray:
        return self.inner.final


def is_on(augment: Mapping[str, Any]) -> bool:
    """Whether a configuration asks for any of it."""
    return any(augment[key] != value for key, value in OFF.items())


def draw(uniform: np.ndarray, sizes: np.ndarray, augment: ConfigDict) -> Augmentation:
    """Turns uniform numbers [S, DRAWS] in [0, 1) into augmentations of pictures of sizes h, w [S, 2]."""
    reach = np.array([augment.brightness, augment.contrast, augment.saturation])
    growth = between(uniform[:, 1], augment.scales)
    is_blurred = uniform[:, 6] < augment.blur
    return Augmentation(
        matrix=turn_and_scale(between(uniform[:, 0], (-augment.rotate, augment.rotate)), growth, sizes),
        growth=growth,
        factors=1 + reach * between(uniform[:, 2:5], (-1, 1)),
        hue=between(uniform[:, 5], (-augment.hue, augment.hue)),
        blur=np.where(is_blurred, between(uniform[:, 7], augment.blur_sigmas), 0.0),
    )


def nothing(sizes: np.ndarray) -> Augmentation:
    """What leaves S pictures as they are."""
    count = len(sizes)
    zeros = np.zeros(count)
    return Augmentation(np.tile(np.eye(3), (count, 1, 1)), zeros + 1, np.ones((count, 3)), zeros, zeros)


def turn_and_scale(degrees: np.ndarray, growth: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """float64 [S, 3, 3] around the middle of each picture (h, w [S, 2]); positive degrees turn clockwise, as y points
    down."""
    angle = np.deg2rad(degrees)
    cos, sin = growth * np.cos(angle), growth * np.sin(angle)
    matrix = np.tile(np.eye(3), (len(sizes), 1, 1))
    matrix[:, :2, :2] = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    middle = sizes[:, ::-1] / 2
    matrix[:, :2, 2] = middle - np.einsum("sij,sj->si", matrix[:, :2, :2], middle)
    return matrix


def moved(matrix: np.ndarray, xy: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """Points [S, N, 2] of pictures with matrices [S, 3, 3]. `offset` is what makes them continuous: 0.5 for indices."""
    return np.einsum("sij,snj->sni", matrix[:, :2, :2], xy + offset) + matrix[:, None, :2, 2] - offset


def move_people(people: People, geometry: Augmented) -> People:
    """People of pictures that are turned and scaled: boxes are those around their corners, joints outside lose their
    labels. Who is not moved stays to the bit."""
    extra, limit = geometry.extra, geometry.original[:, ::-1]
    is_moved = (extra.matrix != np.eye(3)).any((-2, -1))
    corners = moved(extra.matrix, people.boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]])
    boxes = np.concatenate([np.clip(corners.min(1), 0, limit), np.clip(corners.max(1), 0, limit)], -1)
    xy = moved(extra.matrix, people.keypoints[..., :2], 0.5)
    is_inside = ((xy >= -0.5) & (xy <= limit[:, None] - 0.5)).all(-1) & (people.keypoints[..., 2] > 0)
    joints = np.where(is_inside[..., None], np.concatenate([xy, people.keypoints[..., 2:]], -1), 0.0)
    return people._replace(
        boxes=np.where(is_moved[:, None], boxes, people.boxes),
        keypoints=np.where(is_moved[:, None, None], joints, people.keypoints),
        area=people.area * extra.growth**2,
    )


def transform(picture: Image.Image, extra: Augmentation) -> Image.Image:
    """One picture turned and scaled, the mean colour around it."""
    if (extra.matrix == np.eye(3)).all():
        return picture
    return Image.fromarray(warp_picture(np.asarray(picture), of_indices(extra.matrix), (picture.height, picture.width)))


def of_indices(matrix: np.ndarray) -> np.ndarray:
    """[3, 3] of continuous coordinates -> of pixel indices."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ matrix @ half


def change_colours(picture: Image.Image, extra: Augmentation) -> Image.Image:
    """One picture in other colours, and blurred, in the order of `ENHANCERS`, hue, blur."""
    for enhance, factor in zip(ENHANCERS, extra.factors.tolist(), strict=True):
        if factor != 1:
            picture = enhance(picture).enhance(factor)
    if extra.hue != 0:
        hue, *others = picture.convert("HSV").split()
        shift = round(float(extra.hue) * 256)
        hue = hue.point([(value + shift) % 256 for value in range(256)])
        picture = Image.merge("HSV", [hue, *others]).convert("RGB")
    return picture.filter(ImageFilter.GaussianBlur(float(extra.blur))) if extra.blur > 0 else picture


def augmented(recipe: Recipe, augment: ConfigDict) -> Recipe:
    """A recipe with the augmentation that `augment` (config.data.augment) asks for; in evaluation as it was."""

    def draw_geometry(uniform: np.ndarray, sizes: np.ndarray, data: ConfigDict) -> Augmented:
        own, more = uniform[:, : recipe.draws], uniform[:, recipe.draws :]
        return Augmented(recipe.draw_geometry(own, sizes, data), draw(more, sizes, augment))

    def transform_picture(picture: Image.Image, geometry: Augmented) -> Image.Image:
        turned = transform(picture, geometry.extra)
        return change_colours(recipe.transform_picture(turned, geometry.inner), geometry.extra)

    def move(people: People, geometry: Augmented, skeleton: Skeleton) -> MovedPeople:
        return recipe.move_people(move_people(people, geometry), geometry.inner, skeleton)

    def inverse_affine(geometry: Augmented) -> np.ndarray:
        own = recipe.inverse_affine(geometry.inner).astype(np.float64)
        offset = np.tile(np.eye(3), (len(own), 1, 1))
        offset[:, :2, 2] = 0.5 - recipe.half_pixel  # from the recipe's coordinates to continuous ones
        back = np.linalg.inv(offset) @ np.linalg.inv(geometry.extra.matrix) @ offset
        return np.where(
            (geometry.extra.matrix == np.eye(3)).all((-2, -1))[:, None, None],
            own,
            back[:, :2, :2] @ own + np.concatenate([np.zeros((len(own), 2, 2)), back[:, :2, 2:]], -1),
        ).astype(np.float32)

    def loss_mask(annotations: Sequence[Mapping[str, Any]], segments: Callable, geometry: Augmented) -> np.ndarray:
        both = geometry.inner.matrix @ of_indices(geometry.extra.matrix)
        return recipe.loss_mask(annotations, segments, geometry.inner._replace(matrix=both))

    def aim(geometry: Augmented, centre: np.ndarray) -> Augmented:
        goal = moved(geometry.extra.matrix, centre[:, None].astype(np.float64), 0.5)[:, 0]
        return geometry._replace(inner=recipe.aim(geometry.inner, goal))

    return replace(
        recipe,
        extra_draws=DRAWS,
        draw_geometry=draw_geometry,
        rest_geometry=lambda sizes, data: Augmented(recipe.rest_geometry(sizes, data), nothing(sizes)),
        transform_picture=transform_picture,
        move_people=move,
        inverse_affine=inverse_affine,
        aim=aim if recipe.aim else None,
        loss_mask=loss_mask if recipe.loss_mask else None,
    )
