"""RoIAlign (He et al. 2017), aligned variant, sampling ratio 2: pools a fixed grid from a feature pyramid."""

from collections.abc import Sequence
from functools import partial

import jax
from jaxtyping import Array, Float, Int

from kernels.choice import kernel_platform
from kernels.roi_align.dense import roi_align_dense
from kernels.roi_align.gather import roi_align_gather

# Gathering costs about as much per output cell as a product with this many map positions (two CPU cores, float32,
# forward and backward: 7.5 ns per gathered number against 150 GFLOP/s, so break-even near 3000 positions per cell row).
DENSE_POSITIONS_PER_CELL = 3000


def roi_align(
    pyramid: Sequence[Float[Array, "P _ _ C"]],
    boxes: Float[Array, "Q 4"],
    picture: Int[Array, " Q"],
    strides: Sequence[int],
    cells: int,
    path: str = "auto",
) -> Float[Array, "Q cells cells C"]:
    """Pools each box from the level that fits its size.

    Args:
        pyramid: feature maps of P pictures, finest first.
        boxes: xyxy, pixels of the network input; any box is fine, also an empty one or one outside. No gradient.
        picture: the picture of each box.
        strides: pixels per map unit of each level.
        cells: output cells per side; each is the mean of 2 x 2 bilinear samples, samples off the map count as zero.
        path: "auto" takes the CUDA kernel in a process with a GPU, and elsewhere and in portable programs
            (`kernels.choice`) what suits the platform and the map's size; "gather" and "dense" are the same everywhere;
            "triton" is the kernel wherever a program is compiled for CUDA. Every path computes the same numbers.

    Returns:
        The pooled features in the dtype of the pyramid, accumulated in at least float32.
    """
    auto = kernel_on_cuda if kernel_platform() == "cuda" else by_platform
    choose = {"auto": auto, "gather": roi_align_gather, "dense": roi_align_dense, "triton": kernel_on_cuda}
    return choose[path](pyramid, boxes, picture, strides, cells)


def by_platform(pyramid, boxes, picture, strides, cells) -> Array:
    """Matrix products on TPUs and for small maps, else gathers.

    On TPUs bfloat16 features meet bfloat16 weights, as in every other product of a bfloat16 model there.
    """
    gather, dense = (partial(path, strides=strides, cells=cells) for path in (roi_align_gather, roi_align_dense))
    positions = sum(level.shape[0] * level.shape[1] * level.shape[2] for level in pyramid)
    elsewhere = dense if positions <= DENSE_POSITIONS_PER_CELL * cells else gather
    on_tpu = partial(dense, factors=pyramid[0].dtype)
    return jax.lax.platform_dependent(pyramid, boxes, picture, tpu=on_tpu, default=elsewhere)


def kernel_on_cuda(pyramid, boxes, picture, strides, cells) -> Array:
    """The CUDA kernel, where a program is compiled for CUDA."""
    # Imported when asked for: Pallas takes long to import, and its Triton lowering may leave jax.
    from kernels.roi_align.triton import roi_align_triton

    kernel, elsewhere = (partial(path, strides=strides, cells=cells) for path in (roi_align_triton, by_platform))
    return jax.lax.platform_dependent(pyramid, boxes, picture, cuda=kernel, default=elsewhere)
