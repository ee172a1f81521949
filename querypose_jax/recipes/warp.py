"""SimplePose's augmentation: one warp with rotation, scale, stretch, shift and mirror (released behaviour).

Everything is a function of uniform draws, sizes, joints and pixels. Points are pixel indices: whole numbers are pixel
centres, and nothing is added to the joints of a file. Leading axes S are samples, or none for a single one.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.recipes.cubic import warp_pixels
from querypose_jax.recipes.recipe import MASK_STRIDE
from querypose_jax.skeletons import Skeleton

DRAWS = 14  # uniform numbers per sample: 7 of `draw_warp`, 5 of `draw_colours`, 2 of `draw_joint_seeds`
BORDER_COLOUR = (124, 116, 104)  # RGB around pictures: the mean colour
COUNTED = 255  # of masks: losses count here, and so they do beyond the border
# Cubic weights of the four pixels of a cell, in 32nds; a cell counts where more than 0.7 of it does.
CELL_WEIGHTS, CELL_DENOMINATOR, CELL_THRESHOLD = np.array([-3, 19, 19, -3]), 32, 0.7
HUE_STEPS = 180  # of OpenCV's hues, in which noise is given; Pillow has 256


class Warp(NamedTuple):
    """What happens to samples; [*S] or [*S, 2] (x, y)."""

    rotate: np.ndarray
    """Degrees."""
    scale: np.ndarray
    stretch: np.ndarray
    """Further factors of x and of y."""
    shift: np.ndarray
    """Whole pixels."""
    mirror: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """[*S, 2]: network pixels per original pixel along x and y."""
        return np.asarray(self.scale)[..., None] * self.stretch

    @property
    def size_factor(self) -> np.ndarray:
        """[*S]: by how much people grow."""
        return np.sqrt(self.factors.prod(-1))


class Colours(NamedTuple):
    """What happens to the colours of samples, after the warp."""

    grey: np.ndarray
    """[*S] bool."""
    hsv: np.ndarray
    """[*S, 3]: added to hue (0..179), saturation and value (0..255); zeros: nothing."""


def draw_warp(uniform: np.ndarray, data: ConfigDict) -> Warp:
    """The random warp of [*S, DRAWS] numbers in [0, 1) (rotate, scales, stretches, shift, flip of config.data)."""
    shift = np.floor(uniform[..., 4:6] * (2 * data.shift + 1)) - data.shift
    return Warp(
        rotate=between(uniform[..., 0], (-data.rotate, data.rotate)),
        scale=between(uniform[..., 1], data.scales),
        stretch=between(uniform[..., 2:4], data.stretches),
        shift=shift,
        mirror=uniform[..., 6] < data.flip,
    )


def draw_colours(uniform: np.ndarray, data: ConfigDict) -> Colours:
    """The random colours of [*S, DRAWS] numbers in [0, 1) (grey, colour_noise, hsv_noise of config.data)."""
    noise = between(uniform[..., 9:12], (-1, 1)) * np.array(data.hsv_noise)
    return Colours(grey=uniform[..., 7] < data.grey, hsv=np.where(uniform[..., 8, None] < data.colour_noise, noise, 0))


def draw_joint_seeds(uniform: np.ndarray, data: ConfigDict) -> np.ndarray:
    """uint64 [*S] from [*S, DRAWS] numbers in [0, 1): what seeds the shifts of a sample's joints; 0: none are shifted
    (config.data.joint_shift)."""
    seed = (uniform[..., 13] * 2.0**53).astype(np.uint64) + np.uint64(1)
    return np.where(uniform[..., 12] < data.joint_shift, seed, np.uint64(0))


def between(uniform: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Numbers in [0, 1) spread between two limits."""
    low, high = limits
    return low + uniform * (high - low)


def shift_joints(joints: np.ndarray, seed: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Adds 0.5 to 1.5 pixels to every coordinate of joints, each its own amount.

    Never less than 0, as in the release, which means to offset a systematic shift of what people label. Before the
    warp; the centre at which the warp aims is that of the joints as they are in the file.

    Args:
        joints: [P, K, 3], x, y, visibility in the original picture.
        seed: uint64 [P], of each person's sample, see `draw_joint_seeds`.
        number: int [P], of each person: amounts follow from both.
    """
    shifted = joints.copy()
    for person in np.flatnonzero(seed):
        words = np.random.Philox(key=[seed[person], np.uint64(number[person])]).random_raw(2 * joints.shape[1])
        shifted[person, :, :2] += 0.5 + (words >> np.uint64(11)).reshape(-1, 2) * 2.0**-53
    return shifted


def labelled_centre(joints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """x, y of the middle of all labelled joints [P, K, 3] of a picture, or of the picture (h, w) where there are none.

    In whole pixels, rounded down.
    """
    xy = joints[joints[..., 2] > 0][:, :2]
    if not len(xy):
        return np.array(size[::-1]) // 2
    return (xy.min(0) + xy.max(0)) // 2


def warp_matrix(warp: Warp, centre: np.ndarray, sizes: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """[*S, 3, 3]: original pixel -> network pixel.

    The picture turns around its middle, which goes to the middle of the canvas, but for a shift that would bring
    `centre` there if the picture were neither turned nor mirrored (as released).

    Args:
        warp: of the samples.
        centre: [*S, 2], see `labelled_centre`.
        sizes: [*S, 2], h, w of the pictures.
        canvas: h, w of the result.
    """
    middle = (np.asarray(sizes)[..., ::-1] - 1) / 2
    to = (np.array(canvas[::-1]) - 1) / 2 + warp.shift + (middle - centre) * warp.factors
    angle = np.deg2rad(warp.rotate)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    sign = np.stack([np.where(warp.mirror, -1.0, 1.0), np.ones(np.shape(warp.mirror))], -1)
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., :2, :2] = (sign * warp.factors)[..., None] * turn
    matrix[..., :2, 2] = to - np.einsum("...ij,...j->...i", matrix[..., :2, :2], middle)
    matrix[..., 2, 2] = 1
    return matrix


def inverse_affine(matrix: np.ndarray) -> np.ndarray:
    """float32 [*S, 2, 3]: network pixels [x, y, 1] to original pixels."""
    return np.linalg.inv(matrix)[..., :2, :].astype(np.float32)


def move_joints(
    joints: np.ndarray, matrix: np.ndarray, mirror: np.ndarray, skeleton: Skeleton, canvas: np.ndarray | tuple[int, int]
) -> np.ndarray:
    """Joints of people on the canvas; left and right change places in the mirror; what leaves it loses its label.

    Args:
        joints: [*S, K, 3], x, y, visibility in the original picture.
        matrix: [*S, 3, 3], of the picture of each person.
        mirror: [*S] bool.
        skeleton: for left and right.
        canvas: h, w, of each or of all. As released a joint on the first row or column is outside, one just beyond the
            last is not.
    """
    xy = np.einsum("...ij,...kj->...ki", matrix[..., :2, :2], joints[..., :2]) + matrix[..., None, :2, 2]
    outside = ((xy <= 0) | (xy > np.asarray(canvas)[..., None, ::-1])).any(-1)
    moved = np.concatenate([xy, np.where(outside, 0, joints[..., 2])[..., None]], -1)
    return np.where(np.asarray(mirror)[..., None, None], moved[..., list(skeleton.flip_index), :], moved)


def warp_picture(picture: np.ndarray, matrix: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [H, W, 3]: cubic, the border colour around."""
    return warp_pixels(picture, matrix, canvas, BORDER_COLOUR)


def warp_mask(mask: np.ndarray, matrix: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w], 255 where losses count -> uint8 [H, W]."""
    return warp_pixels(mask[..., None], matrix, canvas, (COUNTED,))[..., 0]


def loss_mask(mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of the network's input, 255 where losses count -> bool [H/4, W/4]: cells that count.

    OpenCV's cubic resize by 1/4, in whole numbers.
    """
    stride = MASK_STRIDE
    height, width = (side // stride for side in mask.shape)
    cells = mask[: height * stride, : width * stride].astype(np.int64).reshape(height, stride, width, stride)
    total = np.einsum("hiwj,i,j->hw", cells, CELL_WEIGHTS, CELL_WEIGHTS)
    return total > CELL_THRESHOLD * COUNTED * CELL_DENOMINATOR**2


def warped_loss_mask(mask: np.ndarray | None, matrix: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """bool [H/4, W/4] of a picture's mask uint8 [h, w]; without a mask, or where it leaves nothing out, all True."""
    if mask is None or mask.min() == COUNTED:
        return np.ones((canvas[0] // MASK_STRIDE, canvas[1] // MASK_STRIDE), bool)
    return loss_mask(warp_mask(mask, matrix, canvas))


def change_colours(picture: np.ndarray, colours: Colours) -> np.ndarray:
    """One sample's uint8 [H, W, 3] in grey, or with noise on hue, saturation and value (clipped, not wrapped)."""
    if colours.grey:
        picture = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    if not np.any(colours.hsv):
        return picture
    hsv = np.asarray(Image.fromarray(picture).convert("HSV"), np.float32)
    noisy = np.rint(hsv + np.asarray(colours.hsv) * (256 / HUE_STEPS, 1, 1)).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(noisy, "HSV").convert("RGB"))
