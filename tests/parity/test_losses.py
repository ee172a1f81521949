"""Focal, L1, GIoU and RLE losses, the flow, and their gradients equal the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.geometry.boxes import giou, picture_scale
from querypose_jax.geometry.keypoints import to_box_relative
from querypose_jax.layers.layouts import linear_names, prefixed
from querypose_jax.layers.real_nvp import RealNVP
from querypose_jax.models.querypose.losses import focal_loss, giou_loss, l1_loss, rle_loss
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close, relative_l2

TOLERANCE = {"float32": 1e-4, "float64": 2e-6}  # relative


@pytest.fixture(params=goldens.files("losses"))
def golden(request):
    return Golden(request.param)


def array(golden, key, dtype):
    return jnp.asarray(golden[key].astype(dtype))


def flow_names(couplings=6):
    names = {}
    for k in range(couplings):
        for ours, theirs in (("scales", "s"), ("shifts", "t")):
            for layer in range(3):
                official = linear_names(f"criterion.flow.flow.{theirs}.{k}.{2 * layer}")
                names |= prefixed((ours, k, "layers", layer), official)
    return names


def flow(golden, dtype):
    abstract = nnx.eval_shape(lambda: RealNVP(6, 64, jnp.dtype(dtype), nnx.Rngs(0)))
    return goldens.fill(abstract, flow_names(), golden.meta["weights_tag"], dtype)


def test_focal_loss_equals_reference(golden, dtype):
    onehot = array(golden, "focal_onehot", dtype)
    value, gradient = jax.value_and_grad(lambda x: focal_loss(x, onehot, 0.25, 2.0).sum())(
        array(golden, "focal_logits", dtype)
    )
    assert_close(value, golden["focal_sum"], relative=TOLERANCE[dtype])
    assert_close(gradient, golden["focal_grad"], relative=TOLERANCE[dtype])


def test_box_losses_equal_reference(golden, dtype):
    pred, gt = array(golden, "giou_pred", dtype), array(golden, "giou_gt", dtype)
    assert_close(giou(pred, gt), golden["giou"], relative=TOLERANCE[dtype])
    gradient = jax.grad(lambda x: giou_loss(x, gt)[4:].sum())(pred)
    assert_close(gradient[4:], golden["giou_grad"][4:], relative=TOLERANCE[dtype])
    scale = picture_scale(jnp.asarray(golden["l1_size"]), jnp.dtype(dtype))
    total = l1_loss(array(golden, "l1_pred", dtype), array(golden, "l1_gt", dtype), scale).sum()
    assert_close(total, golden["l1_sum"], relative=TOLERANCE[dtype])


def test_flow_density_equals_reference(golden, dtype):
    model = flow(golden, dtype)
    x = array(golden, "flow_x", dtype)
    assert_close(model.log_prob(x), golden["flow_log_prob"], relative=TOLERANCE[dtype])
    gradient = jax.grad(lambda x: model.log_prob(x).sum())(x)
    assert_close(gradient, golden["flow_grad"], relative=TOLERANCE[dtype])


def test_keypoint_targets_and_rle_equal_reference(golden, dtype):
    boxes, keypoints = array(golden, "rle_boxes", dtype), array(golden, "rle_keypoints", dtype)
    target, is_labelled = to_box_relative(keypoints, boxes)
    assert_close(target, golden["rle_rel"], relative=TOLERANCE[dtype])
    assert np.array_equal(is_labelled, golden["rle_weight"] > 0)

    graphdef, params = nnx.split(flow(golden, dtype))

    def terms(params, xy, sigma):
        return rle_loss(nnx.merge(graphdef, params).log_prob, xy, sigma, target, is_labelled)

    predictions = array(golden, "rle_xy", dtype), array(golden, "rle_sigma", dtype)
    actual = terms(params, *predictions)
    assert_close(actual, golden["rle_terms"], relative=TOLERANCE[dtype])
    assert_close(actual.sum(), golden["rle_sum"], relative=TOLERANCE[dtype])
    of_flow, of_xy, of_sigma = jax.grad(lambda *x: terms(*x).sum(), (0, 1, 2))(params, *predictions)
    assert relative_l2(of_xy, golden["rle_grad_xy"]) <= TOLERANCE[dtype]
    assert relative_l2(of_sigma, golden["rle_grad_sigma"]) <= TOLERANCE[dtype]
    norms = dict(zip(golden["rle_flow_names"].tolist(), golden["rle_flow_grad_norms"].tolist(), strict=True))
    names = flow_names()
    for path, leaf in nnx.to_flat_state(of_flow):
        expected = norms.pop(names[path].names[0])
        assert_close(np.linalg.norm(leaf[...]), expected, relative=10 * TOLERANCE[dtype], what=str(path))
    assert not norms
