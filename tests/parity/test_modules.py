"""Full-size building blocks with the reference's weights of stage 0 equal the reference, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.geometry.boxes import apply_deltas
from querypose_jax.models.querypose import params as names
from querypose_jax.models.querypose.box_decoder import BoxDecoder
from querypose_jax.models.querypose.pose_decoder import PoseDecoder, RowGroups
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close

TOLERANCE = {"float32": 1e-4, "float64": 2e-6}  # relative


@pytest.fixture(params=goldens.files("modules"))
def golden(request):
    return Golden(request.param)


def stage(golden, dtype):
    """Box and pose decoder of stage 0 with generated weights."""
    config, skeleton = goldens.experiment(golden, dtype)
    tag, kind = golden.meta["weights_tag"], jnp.dtype(dtype)
    box = nnx.eval_shape(lambda: BoxDecoder(config, kind, nnx.Rngs(0)))
    pose = nnx.eval_shape(lambda: PoseDecoder(config, skeleton, kind, nnx.Rngs(0)))
    box = goldens.fill(box, names.box_decoder_names(config, "head.head_series.0."), tag, dtype)
    pose = goldens.fill(pose, names.pose_decoder_names(config, skeleton, "head.pose_head_series.0."), tag, dtype)
    return box, pose


def parts_last(x):
    """(parts, M, C) -> (M, parts, C)."""
    return np.swapaxes(x, 0, 1)


@pytest.mark.slow
def test_blocks_equal_reference(golden, dtype, record_property):
    box, pose = stage(golden, dtype)

    def array(key):
        return jnp.asarray(golden[key].astype(dtype))

    def nhwc(key):
        return array(key).transpose(0, 2, 3, 1)

    def check(key, actual):
        record_property(key, assert_close(actual, golden[key], relative=TOLERANCE[dtype], what=key))

    check("dynconv7_out", box.interaction(array("dynconv7_query"), array("dynconv7_tokens")))
    check("dynconv14_out", pose.interaction(array("dynconv14_query"), array("dynconv14_tokens")))

    x = array("box_attn_in")
    x = box.attention_norm(x + box.attention(x))
    check("box_attn_out", x)
    check("box_ffn_out", box.ffn_norm(x + box.ffn(x)))

    x = parts_last(array("kps_attn_in"))
    x = pose.attention_norm(x + pose.attention(x))
    check("kps_attn_out", parts_last(x))
    check("kps_ffn_out", parts_last(pose.ffn_norm(x + pose.ffn(x))))

    x = nhwc("conv_stack_in")
    for conv in pose.convs:
        x = jax.nn.relu(conv(x))
    check("conv_stack_out", x.transpose(0, 3, 1, 2))

    sim = pose.selective_iteration
    embedding = parts_last(array("sim_embed"))
    for key in ("sim", "sim_first"):  # the first stage's query is the same for every person
        queries = jnp.broadcast_to(parts_last(array(f"{key}_query")), embedding.shape)
        check(f"{key}_out", parts_last(sim(embedding, queries)))
    check("delta_out", apply_deltas(array("delta_deltas"), array("delta_boxes")))


@goldens.float32_is_slow
def test_keypoint_heads_equal_reference(golden, dtype):
    """The released head of each part, on the same input row for every part."""
    _, pose = stage(golden, dtype)
    rows = jnp.asarray(golden["unit_linear_in"].astype(dtype))
    _, skeleton = goldens.experiment(golden, dtype)
    queries = jnp.repeat(rows[:, None], len(skeleton.parts), 1)
    xy = np.asarray(pose.coordinates(queries, unit=True))
    sigma = np.asarray(pose.uncertainty(queries, unit=False))
    for part, (_, joints) in enumerate(skeleton.parts):
        for key, ours in (("unit_linear_out", xy), ("sigma_linear_out", sigma)):
            actual = ours[:, list(joints)].reshape(len(rows), -1)
            assert_close(actual, golden[f"{key}{part}"], relative=TOLERANCE[dtype], what=f"{key}{part}")


@goldens.float32_is_slow
def test_part_embedding_equals_reference(golden, dtype):
    """SPEGM with running statistics, with batch statistics (padding rows left out), and the statistics' update."""
    _, pose = stage(golden, dtype)
    features = jnp.asarray(golden["spegm_in"].astype(dtype)).transpose(0, 2, 3, 1)
    spegm = pose.part_embedding
    actual = spegm(features, None)
    assert_close(parts_last(actual), golden["spegm_eval_out"], relative=TOLERANCE[dtype])

    count = len(features)
    padded = jnp.concatenate([features, 100 + features[:2]])
    groups = RowGroups(jnp.arange(count + 2) < count, jnp.zeros(count + 2, int), 1)
    actual = spegm(padded, groups)[:count]
    assert_close(parts_last(actual), golden["spegm_train_out"], relative=TOLERANCE[dtype])
    assert_close(spegm.norm.mean[...], golden["spegm_new_running_mean"], relative=TOLERANCE[dtype])
    assert_close(spegm.norm.var[...], golden["spegm_new_running_var"], relative=TOLERANCE[dtype])
