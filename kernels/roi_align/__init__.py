"""RoIAlign (He et al. 2017), aligned variant, sampling ratio 2: pools a fixed grid from a feature pyramid."""

from collections.abc import Sequence

from jaxtyping import Array, Float, Int

from kernels.roi_align.dense import roi_align_dense
from kernels.roi_align.gather import roi_align_gather

# Gathering costs about as much per output cell as a product with this many map positions (two CPU cores, float32,
# forward and backward: 7.5 ns per gathered number against 150 GFLOP/s, so break-even near 3000 positions per cell row).
DENSE_POSITIONS_PER_CELL = 3000
DENSE_NUMBERS = 2**24  # where boxes choose among pictures, a product copies the map of each box: at most this much


def roi_align(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
) -> Float[Array, "Q cells cells C"]:
    """Pools each box from the level that fits its size.

    Args:
        pyramid: feature maps of P pictures, finest first.
        boxes: xyxy, pixels of the network input; any box is fine, also an empty one or one outside. No gradient.
        picture: the picture of each box.
        strides: pixels per map unit of each level.
        cells: output cells per side; each is the mean of 2 x 2 bilinear samples, samples off the map count as zero.

    Returns:
        The pooled features in the dtype of the pyramid, accumulated in at least float32.
    """
    pictures, _, _, channels = pyramid[0].shape
    positions = sum(level.shape[1] * level.shape[2] for level in pyramid)
    copied = boxes.shape[0] * positions * channels if pictures > 1 else 0
    is_small = positions <= DENSE_POSITIONS_PER_CELL * cells and copied <= DENSE_NUMBERS
    path = roi_align_dense if is_small else roi_align_gather
    return path(pyramid, boxes, picture, strides, cells)
