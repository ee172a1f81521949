"""Every RoIAlign path equals the reference, forward and backward, on single maps and on pyramids."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.roi_align import roi_align
from kernels.roi_align.dense import roi_align_dense
from kernels.roi_align.gather import roi_align_gather
from kernels.roi_align.sampling import pyramid_level
from kernels.roi_align.triton import roi_align_triton
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

OUTPUT_TOLERANCE = {"float32": 1e-5, "float64": 1e-6}  # absolute, maps have unit variance
GRADIENT_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # relative
PATHS = [
    *(roi_align, roi_align_gather, roi_align_dense),
    pytest.param(partial(roi_align_triton, interpret=True), id="triton_interpreted", marks=pytest.mark.slow),
]


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def stored_cells(golden, case):
    """The output sizes (cells per side) a case has."""
    return [int(key.removeprefix(f"{case}_out")) for key in golden.names(f"{case}_out")]


def check(path, pyramid, boxes, picture, strides, cells, cotangent, output, gradients, dtype):
    @jax.jit  # one program compiles sooner than its operations one by one
    def both(pyramid, boxes, picture, cotangent):
        pooled, backward = jax.vjp(lambda pyramid: path(pyramid, boxes, picture, strides, cells), pyramid)
        return pooled, *backward(cotangent)

    pyramid = [channels_last(level).astype(dtype) for level in pyramid]
    cotangent = channels_last(cotangent).astype(dtype)
    actual, actual_gradients = both(pyramid, boxes.astype(dtype), jnp.asarray(picture), cotangent)
    assert_close(actual, channels_last(output), OUTPUT_TOLERANCE[dtype])
    for actual, expected in zip(actual_gradients, gradients, strict=True):
        assert_close(actual, channels_last(expected), relative=GRADIENT_TOLERANCE[dtype])


def stored_levels(golden):
    """Numbers of the pyramid's levels, finest first: 2, 3, 4, 5."""
    return sorted(int(key.removeprefix("fpn_p")) for key in golden.names("fpn_p"))


@goldens.float32_is_slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("file", goldens.files("roi_align"))
def test_single_maps_equal_reference(file, path, dtype):
    golden = Golden(file)
    for case in sorted({key.removesuffix("_feat") for key in golden.names() if key.endswith("_feat")}):
        stride = round(1 / float(golden[f"{case}_scale"]))
        for cells in stored_cells(golden, case):
            check(
                path,
                [golden[f"{case}_feat"]],
                golden[f"{case}_boxes"],
                golden[f"{case}_batch"],
                [stride],
                cells,
                golden[f"{case}_cot{cells}"],
                golden[f"{case}_out{cells}"],
                [golden[f"{case}_grad{cells}"]],
                dtype,
            )


@goldens.float32_is_slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("file", goldens.files("roi_align"))
def test_pyramids_equal_reference(file, path, dtype):
    golden = Golden(file)
    boxes = golden["fpn_boxes"]
    pictures, count = boxes.shape[:2]
    levels = stored_levels(golden)
    for cells in stored_cells(golden, "fpn"):
        check(
            path,
            [golden[f"fpn_p{level}"] for level in levels],
            boxes.reshape(-1, 4),
            np.repeat(np.arange(pictures), count),
            [1 << level for level in levels],
            cells,
            golden[f"fpn_cot{cells}"],
            golden[f"fpn_out{cells}"],
            [golden[f"fpn_grad_p{level}"] for level in levels],
            dtype,
        )


@pytest.mark.parametrize("file", goldens.files("roi_align"))
def test_levels_equal_reference(file, dtype):
    golden = Golden(file)
    for boxes, level in (("fpn_boxes", "fpn_level"), ("edge_boxes", "edge_level")):
        actual = pyramid_level(jnp.asarray(golden[boxes].reshape(-1, 4).astype(dtype)), len(stored_levels(golden)))
        assert np.array_equal(actual, golden[level])
