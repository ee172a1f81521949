"""Multi-scale deformable attention (Zhu et al. 2021, Eq. 3): each query reads a few places of several maps."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from jaxtyping import Array, Float

from kernels.choice import kernel_platform, on_every_device
from kernels.deformable_attention.gather import deformable_attention_gather

# Queries whose samples are in memory at once: what caches hold on CPUs, what fills the device elsewhere.
AT_A_TIME_CPU, AT_A_TIME = 128, 2048


def deformable_attention(
    values: Float[Array, "B tokens heads dim"],
    shapes: Sequence[tuple[int, int]],
    locations: Float[Array, "B Q heads levels points 2"],
    weights: Float[Array, "B Q heads levels points"],
    path: str = "auto",
) -> Float[Array, "B Q heads*dim"]:
    """Sums bilinear samples of the values with the attention weights, over levels and points, for each head.

    Where the samples lie is the caller's business (`models.deformable.attention` makes locations of references and
    offsets), and so is padding: zero the values of tokens that nobody shall see.

    Args:
        values: the tokens of all levels, finest first, each level row by row; any float type.
        shapes: height, width of each level; they add up to the tokens.
        locations: x, y of the samples, at least float32; (0, 0) is the top left corner of a level's map and (1, 1) its
            bottom right one, so cell (i, j) has its centre at ((j + 0.5) / width, (i + 0.5) / height). Any finite
            number is fine: cells off the map count as zero.
        weights: of the samples, at least float32; whatever they sum up to.
        path: "auto" takes the kernel of the platform in a process with a GPU or TPUs, gathers elsewhere and in portable
            programs (`kernels.choice`), "gather" is the same program everywhere, "triton" and "tpu" are the kernels
            wherever a program is compiled for CUDA or for TPUs. Every path computes the same numbers.

    Returns:
        The sums, head after head, in the type of the values, accumulated in at least float32. The derivative of a
        sample by its location is, exactly on a cell's centre, the slope towards the next cell.
    """
    shapes = tuple((height, width) for height, width in shapes)
    gather = partial(deformable_attention_gather, at_a_time=AT_A_TIME_CPU)
    kernels: dict[str, Callable[..., Array]] = {"cuda": kernel_on_cuda, "tpu": kernel_on_tpu}
    auto = kernels.get(kernel_platform() or "", by_platform)
    choose: dict[str, Callable[..., Array]] = {
        "auto": auto,
        "gather": gather,
        "triton": kernel_on_cuda,
        "tpu": kernel_on_tpu,
    }
    attend = partial(choose[path], shapes=shapes)
    return on_every_device(attend, values, locations, weights, kernels=tuple(kernels))


def by_platform(values, locations, weights, shapes) -> Array:
    """Gathers everywhere, of few queries at a time on CPUs."""
    few, many = (
        partial(deformable_attention_gather, shapes=shapes, at_a_time=number) for number in (AT_A_TIME_CPU, AT_A_TIME)
    )
    return jax.lax.platform_dependent(values, locations, weights, cpu=few, default=many)


def kernel_on_cuda(values, locations, weights, shapes) -> Array:
    """The CUDA kernel, where a program is compiled for CUDA."""
    # Imported when asked for: Pallas takes long to import, and its Triton lowering may leave jax.
    from kernels.deformable_attention.triton import deformable_attention_triton

    kernel, elsewhere = (partial(path, shapes=shapes) for path in (deformable_attention_triton, by_platform))
    return jax.lax.platform_dependent(values, locations, weights, cuda=kernel, default=elsewhere)


def kernel_on_tpu(values, locations, weights, shapes) -> Array:
    """The TPU kernel, where a program is compiled for TPUs and a head's values fit on the chip."""
    from kernels.deformable_attention.tpu import deformable_attention_tpu, fits  # imported when asked for, as above

    elsewhere = partial(by_platform, shapes=shapes)
    kernel = (
        partial(deformable_attention_tpu, shapes=shapes) if fits(values.shape[-1], values.dtype, shapes) else elsewhere
    )
    return jax.lax.platform_dependent(values, locations, weights, tpu=kernel, default=elsewhere)
