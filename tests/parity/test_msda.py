"""Deformable attention equals the reference, forward and backward: the sampling alone, and the layer around it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kernels.deformable_attention import deformable_attention
from kernels.deformable_attention.oracle import deformable_attention_oracle
from querypose_jax.models.deformable.attention import DeformableAttention, ring_offsets, sampling_locations
from querypose_jax.models.deformable.names import deformable_attention_names
from tests.parity import goldens
from tests.parity.deformable_goldens import filled
from tests.parity.goldens import Golden, assert_close

VALUES = {"float32": 1e-5, "float64": 2e-6}  # relative
GRADIENTS = {"float32": 1e-4, "float64": 2e-6}
PATHS = [pytest.param(partial(deformable_attention, path="gather"), id="gather")]


def shapes_of(golden: Golden) -> tuple[tuple[int, int], ...]:
    return tuple((height, width) for height, width in golden["level_shapes"].tolist())


def on_border(locations, shapes):
    """Samples exactly on a centre of a cell, in x or y: whose derivative is a matter of rounding."""
    size = np.array([(width, height) for height, width in shapes], locations.dtype)[:, None]
    position = locations * size - locations.dtype.type(0.5)
    return np.abs(position - np.round(position)).min(-1) < 1e-4


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("file", goldens.files("msda"))
def test_sampling_equals_reference(file, path, dtype, record_property):
    golden, shapes = Golden(file), shapes_of(Golden(file))
    arrays = [jnp.asarray(golden[key].astype(dtype)) for key in ("value", "loc", "att")]

    @jax.jit
    def run(arrays, cotangent):
        out, pull = jax.vjp(lambda *x: path(x[0], shapes, *x[1:]), *arrays)
        return out, pull(cotangent)

    out, (values, locations, weights) = run(arrays, jnp.asarray(golden["cot"].astype(dtype)))
    record_property("values", assert_close(out, golden["out"], relative=VALUES[dtype]))
    assert_close(values, golden["grad_value"], relative=GRADIENTS[dtype], what="grad_value")
    assert_close(weights, golden["grad_att"], relative=GRADIENTS[dtype], what="grad_att")
    is_smooth = ~on_border(golden["loc"], shapes)[..., None]
    limit = GRADIENTS[dtype] * np.abs(golden["grad_loc"]).max()
    record_property(
        "gradients", assert_close(locations * is_smooth, golden["grad_loc"] * is_smooth, limit, what="grad_loc")
    )


@pytest.mark.parametrize("file", goldens.files("msda"))
def test_oracle_equals_reference(file):
    golden = Golden(file)
    out = deformable_attention_oracle(golden["value"], shapes_of(golden), golden["loc"], golden["att"])
    assert_close(out, golden["out"], relative=VALUES["float64"])


@goldens.float32_is_slow
@pytest.mark.parametrize("file", goldens.files("msda"))
def test_layer_equals_reference(file, dtype):
    golden, shapes = Golden(file), shapes_of(Golden(file))
    config = golden.meta["config"]
    names = deformable_attention_names(golden.meta["prefix"])
    grid = config["heads"], config["levels"], config["points"]
    layer = filled(
        lambda: DeformableAttention(config["width"], *grid, jnp.dtype(dtype), nnx.Rngs(0)), names, golden, dtype
    )
    graphdef, params = nnx.split(layer, nnx.Param)
    arrays = [jnp.asarray(golden[f"layer_{key}"].astype(dtype)) for key in ("query", "reference", "memory")]
    is_valid = jnp.asarray(~golden["layer_mask"])

    @jax.jit
    def run(params, arrays, cotangent):
        def call(params, arrays):
            return nnx.merge(graphdef, params)(*arrays, shapes, is_valid)

        out, pull = jax.vjp(call, params, arrays)
        layer = nnx.merge(graphdef, params)
        return out, pull(cotangent), layer.samples(arrays[0], arrays[1], shapes), layer.offsets(arrays[0])

    out, (of_params, of_arrays), (locations, weights), offsets = run(
        params, arrays, jnp.asarray(golden["cot"].astype(dtype))
    )
    assert_close(out, golden["layer_out"], relative=VALUES[dtype], what="out")
    assert_close(locations, golden["layer_loc"], relative=VALUES[dtype], what="locations")
    assert_close(weights, golden["layer_attention"], relative=VALUES[dtype], what="attention")
    assert_close(offsets.reshape(locations.shape), golden["layer_offsets"], relative=VALUES[dtype], what="offsets")
    for key, gradient in zip(("query", "reference", "memory"), of_arrays, strict=True):
        assert_close(gradient, golden[f"layer_grad_{key}"], relative=GRADIENTS[dtype], what=key)
    for path, leaf in nnx.to_flat_state(of_params):
        (tensor,) = names[path].to_official(np.asarray(leaf[...]))
        key = "layer_grad/" + names[path].names[0].removeprefix(golden.meta["prefix"] + ".")
        largest = max(np.abs(golden[name]).max() for name in golden.names("layer_grad/"))
        assert_close(tensor, golden[key], 1e-9 * largest, GRADIENTS[dtype], what=key)


@pytest.mark.parametrize("file", goldens.files("msda"))
def test_initial_offsets_equal_reference(file):
    golden = Golden(file)
    config = golden.meta["config"]
    rings = ring_offsets(config["heads"], config["levels"], config["points"])
    assert_close(rings.ravel(), golden["layer_offset_bias_start"], 1e-6)


def test_boxes_are_sampled_in_half_sides_and_points_in_cells():
    """4 x 8 cells, P = 2: offset (1, 1) moves a point by (1 / 8, 1 / 4), a box of (0.4, 0.2) by (0.1, 0.05)."""
    offsets = jnp.ones((1, 1, 1, 1, 2, 2))
    point = sampling_locations(jnp.array([0.5, 0.5]).reshape(1, 1, 1, 2), offsets, [(4, 8)])
    assert np.allclose(point[0, 0, 0, 0], [[0.625, 0.75]] * 2)
    box = sampling_locations(jnp.array([0.5, 0.5, 0.4, 0.2]).reshape(1, 1, 1, 4), offsets, [(4, 8)])
    assert np.allclose(box[0, 0, 0, 0], [[0.6, 0.55]] * 2)
