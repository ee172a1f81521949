"""Focal, L1, GIoU and RLE losses, the flow, and their gradients equal the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import querypose
from querypose_jax.geometry.boxes import giou, picture_scale
from querypose_jax.geometry.keypoints import to_box_relative
from querypose_jax.layers.real_nvp import RealNVP
from querypose_jax.models.focal_loss import focal_loss
from querypose_jax.models.querypose.losses import giou_loss, l1_loss, rle_loss
from querypose_jax.models.querypose.params import head_names
from querypose_jax.skeletons import COCO
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close, relative_l2

TOLERANCE = {"float32": 1e-4, "float64": 2e-6}  # relative


@pytest.fixture(params=goldens.files("losses"))
def golden(request):
    return Golden(request.param)


def array(golden, key, dtype):
    return jnp.asarray(golden[key].astype(dtype))


def model_config(golden):
    """The golden's config.model, as released where it has none, with as many couplings as it names."""
    config = goldens.experiment(golden, "float32")[0] if "config" in golden.meta else querypose.get_config().model
    couplings = {name.split(".")[4] for name in golden["rle_flow_names"].tolist()}  # criterion.flow.flow.s.K.0.bias
    config.flow_couplings = len(couplings)
    return config


def flow_names(config):
    return {path[1:]: source for path, source in head_names(config, COCO).items() if path[0] == "flow"}


def flow(golden, dtype):
    config = model_config(golden)
    abstract = nnx.eval_shape(lambda: RealNVP(config.flow_couplings, config.flow_dim, jnp.dtype(dtype), nnx.Rngs(0)))
    return goldens.fill(abstract, flow_names(config), golden.meta["weights_tag"], dtype)


def test_focal_loss_equals_reference(golden, dtype):
    config = model_config(golden).loss
    onehot = array(golden, "focal_onehot", dtype)

    def total(logits):
        return focal_loss(logits, onehot, config.focal_alpha, config.focal_gamma).sum()

    value, gradient = jax.value_and_grad(total)(array(golden, "focal_logits", dtype))
    assert_close(value, golden["focal_sum"], relative=TOLERANCE[dtype])
    assert_close(gradient, golden["focal_grad"], relative=TOLERANCE[dtype])


@goldens.float32_is_slow
def test_box_losses_equal_reference(golden, dtype):
    pred, gt = array(golden, "giou_pred", dtype), array(golden, "giou_gt", dtype)
    assert_close(giou(pred, gt), golden["giou"], relative=TOLERANCE[dtype])
    gradient = jax.grad(lambda x: giou_loss(x, gt)[4:].sum())(pred)
    assert_close(gradient[4:], golden["giou_grad"][4:], relative=TOLERANCE[dtype])
    scale = picture_scale(jnp.asarray(golden["l1_size"]), jnp.dtype(dtype))
    total = l1_loss(array(golden, "l1_pred", dtype), array(golden, "l1_gt", dtype), scale).sum()
    assert_close(total, golden["l1_sum"], relative=TOLERANCE[dtype])


@goldens.float32_is_slow
def test_flow_density_equals_reference(golden, dtype):
    graphdef, params = nnx.split(flow(golden, dtype))

    def total(x):
        log_prob = nnx.merge(graphdef, params).log_prob(x)
        return log_prob.sum(), log_prob

    gradient, log_prob = jax.jit(jax.grad(total, has_aux=True))(array(golden, "flow_x", dtype))
    assert_close(log_prob, golden["flow_log_prob"], relative=TOLERANCE[dtype])
    assert_close(gradient, golden["flow_grad"], relative=TOLERANCE[dtype])


@goldens.float32_is_slow
def test_keypoint_targets_and_rle_equal_reference(golden, dtype):
    boxes, keypoints = array(golden, "rle_boxes", dtype), array(golden, "rle_keypoints", dtype)
    target, is_labelled = to_box_relative(keypoints, boxes)
    assert_close(target, golden["rle_rel"], relative=TOLERANCE[dtype])
    assert np.array_equal(is_labelled, golden["rle_weight"] > 0)

    graphdef, params = nnx.split(flow(golden, dtype))

    def total(params, xy, sigma):
        terms = rle_loss(nnx.merge(graphdef, params).log_prob, xy, sigma, target, is_labelled)
        return terms.sum(), terms

    predictions = array(golden, "rle_xy", dtype), array(golden, "rle_sigma", dtype)
    (actual, terms), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(params, *predictions)
    of_flow, of_xy, of_sigma = gradients
    assert_close(terms, golden["rle_terms"], relative=TOLERANCE[dtype])
    assert_close(actual, golden["rle_sum"], relative=TOLERANCE[dtype])
    assert relative_l2(of_xy, golden["rle_grad_xy"]) <= TOLERANCE[dtype]
    assert relative_l2(of_sigma, golden["rle_grad_sigma"]) <= TOLERANCE[dtype]
    norms = dict(zip(golden["rle_flow_names"].tolist(), golden["rle_flow_grad_norms"].tolist(), strict=True))
    names = flow_names(model_config(golden))
    for path, leaf in nnx.to_flat_state(of_flow):
        expected = norms.pop(names[path].names[0])
        assert_close(np.linalg.norm(leaf[...]), expected, relative=10 * TOLERANCE[dtype], what=str(path))
    assert not norms
