"""The CUDA kernels against float64 on the host: forward and all gradients, on fresh random numbers."""

import secrets
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kernels.deformable_attention.gather import deformable_attention_gather
from kernels.deformable_attention.triton import deformable_attention_triton
from kernels.roi_align.gather import roi_align_gather
from kernels.roi_align.triton import roi_align_triton
from querypose_jax.backbones.fpn import PYRAMID_STRIDES
from querypose_jax.bench.deformable_attention import Size, draw
from querypose_jax.bench.gpu.sheet import Sheet

LIMITS = {"float32": 1e-4, "bfloat16": 1e-2}  # of the norm of the error over the norm of what is right
FAR = (-1e6, 1e6, 3e38, -3e38, -0.5, 0.0, 0.5, 1.0, 1.5)  # places off the map and on its border
CLOSE = 1e-3  # cells; nearer to a centre the slope by a place jumps, and rounding decides on which side it lies


def interprets() -> bool:
    """Whether kernels have to be interpreted here."""
    return jax.default_backend() != "gpu"


def roi_align_is_right(sheet: Sheet) -> None:
    """7x7 from four levels and 14x14 from one; boxes of all sizes, some outside, empty or inverted."""
    rng, seed = fresh()
    height, width = sheet.sizes.canvas
    count = sheet.sizes.boxes
    pictures = min(2, sheet.sizes.pictures)
    corner = rng.uniform(-0.2, 1, (count * pictures, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + rng.uniform(-50, 600, corner.shape)], -1).astype(np.float32)
    picture = np.repeat(np.arange(pictures, dtype=np.int32), count)
    for cells, strides in ((7, PYRAMID_STRIDES), (14, PYRAMID_STRIDES[:1])):
        maps = [rng.standard_normal((pictures, -(-height // s), -(-width // s), 256), np.float32) for s in strides]
        cotangent = rng.standard_normal((len(boxes), cells, cells, 256), np.float32)

        def kernel(*maps, strides=strides, cells=cells):
            return roi_align_triton(maps, jnp.asarray(boxes), picture, strides, cells, interprets())

        def right(*maps, strides=strides, cells=cells):
            return roi_align_gather(maps, jnp.asarray(boxes, jnp.float64), picture, strides, cells)

        names = ["pooled", *(f"gradient of P{level}" for level in range(2, 2 + len(strides)))]
        compare_both(sheet, f"{cells}x{cells}", kernel, right, maps, cotangent, names, {}, seed)


def deformable_attention_is_right(sheet: Sheet) -> None:
    """The levels of the canvas with the decoder's queries; and odd numbers of everything, with maps of one cell."""
    rng, seed = fresh()
    queries = sheet.sizes.decoder_queries
    size = Size(sheet.sizes.canvas, min(2, sheet.sizes.pictures), queries)
    drawn = draw(size)
    values = rng.standard_normal(drawn.values.shape, np.float32)
    compare_attention(sheet, "decoder", size.shapes, values, with_far(drawn.locations, rng), drawn.weights, rng, seed)
    shapes, grid = ((5, 7), (3, 3), (1, 1)), (2, 37, 3, 3, 3)  # pictures, queries, heads, levels, points
    values = rng.standard_normal((2, sum(h * w for h, w in shapes), 3, 24), np.float32)
    locations = with_far(rng.uniform(-0.3, 1.3, (*grid, 2)).astype(np.float32), rng)
    weights = rng.standard_normal(grid, np.float32)
    compare_attention(sheet, "odd numbers", shapes, values, locations, weights, rng, seed)


def compare_attention(sheet, case, shapes, values, locations, weights, rng, seed) -> None:
    """One case of `deformable_attention_is_right`."""
    cotangent = rng.standard_normal((*weights.shape[:2], weights.shape[2] * values.shape[-1]), np.float32)
    levels = np.array([(width, height) for height, width in shapes])[:, None]
    with np.errstate(all="ignore"):
        place = locations * levels - 0.5
        is_smooth = (np.abs(place - np.round(place)) > CLOSE).all(-1, keepdims=True) & np.isfinite(place)

    def kernel(values, locations, weights):
        return deformable_attention_triton(values, locations, weights, shapes, interpret=interprets())

    def right(values, locations, weights):
        return deformable_attention_gather(values, locations, weights, shapes, 512)

    names = ["sums", "gradient of values", "gradient of locations", "gradient of weights"]
    kept = {"gradient of locations": is_smooth}
    compare_both(sheet, case, kernel, right, [values, locations, weights], cotangent, names, kept, seed)


def compare_both(sheet, case, kernel, right, operands, cotangent, names, kept, seed) -> None:
    """A line for each output and each type of the first operand or, of a pyramid, of all of them."""
    narrow = len(operands) if case[0].isdigit() else 1
    for dtype, limit in LIMITS.items():
        with sheet.guarded(f"{case}, {dtype}"):
            rounded = [np.asarray(jnp.asarray(x, dtype)) for x in (*operands[:narrow], cotangent)]
            arrays, cotangent_ = [*rounded[:-1], *operands[narrow:]], rounded[-1]
            with sheet.alone():
                found = pulled(kernel, arrays, cotangent_)
                again = pulled(kernel, arrays, cotangent_)
            with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
                wide = [np.asarray(x, np.float64) for x in (*arrays, cotangent_)]
                expected = pulled(right, wide[:-1], wide[-1])
            for name, actual, target, repeated in zip(names, found, expected, again, strict=True):
                keep = kept.get(name, True)
                largest, norm = errors(np.where(keep, actual, 0), np.where(keep, target, 0))
                sheet.write(
                    case=f"{case}, {dtype}",
                    what=name,
                    largest_error=largest,
                    norm_error=norm,
                    limit=limit,
                    passes=bool(norm < limit),  # NaN does not
                    same_bits_again=bool(np.array_equal(actual, repeated)),
                    seed=seed,
                )


def pulled(function: Callable, operands: Sequence[np.ndarray], cotangent: np.ndarray) -> list[np.ndarray]:
    """The result and the gradients of all operands, in float64."""

    def both(operands, cotangent):
        out, pull = jax.vjp(function, *operands)
        return out, *pull(cotangent.astype(out.dtype))

    return [np.asarray(x).astype(np.float64) for x in jax.jit(both)(list(operands), cotangent)]


def errors(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest difference over the largest number; norm of the difference over the norm. What is zero shall be zero."""
    difference = actual - expected
    largest, norm = np.abs(difference).max(), np.linalg.norm(difference)
    if not expected.any():
        return float(largest), float(norm)
    return float(largest / np.abs(expected).max()), float(norm / np.linalg.norm(expected))


def with_far(locations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same with one coordinate in fifty from FAR."""
    far = rng.choice(np.array(FAR, np.float32), locations.shape)
    return np.where(rng.random(locations.shape) < 0.02, far, locations)


def fresh() -> tuple[np.random.Generator, int]:
    """Another one each time, and its seed."""
    seed = secrets.randbits(32)
    return np.random.default_rng(seed), seed
