"""QueryPose as a model: shapes, initial values, padding, empty batches, decoding."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.backbones.backbone import Backbone
from querypose_jax.layers.frozen import Frozen
from querypose_jax.models.querypose.proposals import initial_proposals
from querypose_jax.models.registry import build_model
from querypose_jax.structures import FILLER_ID, PeopleBudget
from tests.models.small_model import loss_and_gradients, losses, people_batch, small_config, small_model


@pytest.mark.slow
def test_padding_people_and_rows_change_no_loss():
    """Two more slots per picture and ten more rows: same losses."""
    batch = people_batch()
    padded = dataclasses.replace(
        batch,
        budget=PeopleBudget(1, 16),
        boxes=np.pad(batch.boxes, ((0, 0), (0, 2), (0, 0))),
        keypoints=np.pad(batch.keypoints, ((0, 0), (0, 2), (0, 0), (0, 0))),
        area=np.pad(batch.area, ((0, 0), (0, 2))),
        label=np.pad(batch.label, ((0, 0), (0, 2))),
        is_person=np.pad(batch.is_person, ((0, 0), (0, 2))),
    )
    model = small_model(light=False)
    tight = losses(model, dataclasses.replace(batch, budget=PeopleBudget(1, 6)))
    loose = losses(model, padded)
    chex.assert_trees_all_close(tight, loose, rtol=1e-4)


@pytest.mark.slow
def test_remat_computes_every_stage_again():
    """Each of these names its option prevent_cse in the program; the flow and the backbone name none."""

    def computed_again(model: nnx.Module) -> int:
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)

        def loss(params):
            merged = nnx.merge(graphdef, params, rest, copy=True)
            return merged.loss(merged(people_batch(), train=True), people_batch())[0]

        return str(jax.make_jaxpr(jax.grad(loss))(params)).count("prevent_cse")

    assert computed_again(small_model(stages=1)) == 0
    assert computed_again(small_model(stages=1, remat=True)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("light", [False, True])
def test_stages_that_are_computed_again_give_the_same_gradients_and_statistics(light):
    kept = loss_and_gradients(small_model(light=light), people_batch())
    again = loss_and_gradients(small_model(light=light, remat=True), people_batch())
    chex.assert_trees_all_close(kept, again, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_batch_without_people_has_zero_keypoint_loss_and_finite_gradients():
    model = small_model(light=False)
    total, terms, gradients, statistics = loss_and_gradients(model, people_batch(people=(0, 0)))
    assert terms["loss_kps"] == 0
    assert terms["loss_bbox"] == 0
    assert terms["loss_giou"] == 0
    assert total > 0, "background still counts"
    chex.assert_tree_all_finite(gradients)
    before = nnx.state(model.pose_decoders, nnx.BatchStat)
    kept = dict(nnx.to_flat_state(statistics))
    for path, leaf in nnx.to_flat_state(before):
        assert np.array_equal(leaf[...], kept[("pose_decoders", *path)][...]), "running statistics stay"


@pytest.mark.slow
def test_shards_of_a_batch_give_the_same_losses_as_one():
    """Row layout over two shards, each packing its own pictures, changes nothing."""
    batch = people_batch(people=(2, 1, 1, 3))
    model = small_model(light=False)
    one = losses(model, dataclasses.replace(batch, budget=PeopleBudget(1, 8)))
    two = losses(model, dataclasses.replace(batch, budget=PeopleBudget(2, 4)))
    chex.assert_trees_all_close(one, two, rtol=1e-4)


def test_groups_of_pictures_share_statistics_and_no_more():
    """With a group per picture, a picture's keypoint predictions do not depend on the other pictures."""
    config = small_config(light=False)
    config.train.pictures_per_group = 1
    model = build_model(config, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(model)
    batch = people_batch(people=(2, 3))
    rng = np.random.default_rng(1)
    pyramid = [jnp.asarray(rng.standard_normal((2, 64 // s, 96 // s, 16)), jnp.float32) for s in (4, 8, 16, 32)]
    changed = [level.at[1].set(level[1, ::-1]) for level in pyramid]  # a scale would not survive batch norm

    @jax.jit
    def keypoints(pyramid):
        return nnx.merge(graphdef, state, copy=True).cascade(pyramid, batch, train=True).xy[0, 0]

    first, second = keypoints(pyramid), keypoints(changed)
    assert np.allclose(first[:2], second[:2], atol=1e-5), "people of picture 0"
    assert not np.allclose(first[2:5], second[2:5], atol=1e-2), "people of picture 1"


def test_stages_start_with_the_same_vectors_and_different_matrices():
    model = small_model(light=False)
    stages = [dict(nnx.to_flat_state(nnx.state(stage, nnx.Param))) for stage in model.pose_decoders]
    for path, first in stages[0].items():
        same = np.array_equal(first[...], stages[1][path][...])
        assert same == (path[-1] in ("bias", "scale")), path


def test_initial_values_follow_the_released_code():
    config = small_config()
    model = small_model()
    assert np.allclose(model.box_decoders[0].class_logits.bias[...], -4.59512, atol=1e-5)
    kernel = model.box_decoders[0].ffn.expand.kernel[...]
    bound = (6 / sum(kernel.shape)) ** 0.5
    assert 0.8 * bound < np.abs(kernel).max() <= bound
    assert not np.any(model.pose_decoders[0].convs[0].bias[...])
    assert np.any(model.pose_decoders[0].ffn.expand.bias[...])
    config.model.proposals = "image"
    assert np.array_equal(initial_proposals(config.model)[3], [0.5, 0.5, 1, 1])


def test_proposal_grid_must_have_num_proposals_cells():
    config = small_config(proposal_grid=(2, 2))
    with pytest.raises(ValueError, match="proposal_grid=2x2 makes 4 boxes for num_proposals=6"):
        initial_proposals(config.model)


def test_decode_scales_to_original_pixels_and_drops_empty_boxes():
    model = small_model()
    batch = people_batch(people=(0, 0))
    batch = dataclasses.replace(batch, image_id=np.array([5, FILLER_ID], np.int32))
    graphdef, state = nnx.split(model)
    outputs = jax.jit(lambda state: nnx.merge(graphdef, state)(batch))(state)
    boxes = jnp.array([10.0, 20, 30, 60]) + jnp.zeros((2, 2, 6, 4))
    boxes = boxes.at[-1, 0, 1].set(jnp.array([200.0, 0, 210, 50]))  # right of the picture: empty once clipped
    boxes = boxes.at[-1, 0, 2].set(jnp.array([-8.0, 0, 10, 50]))
    outputs = dataclasses.replace(
        outputs, boxes=boxes, xy=jnp.zeros((2, 2, 6, 17, 2)), sigma=jnp.full((2, 2, 6, 17, 2), 0.25)
    )
    outputs = dataclasses.replace(outputs, logits=jnp.zeros((2, 2, 6, 1)))
    poses = model.decode(outputs, batch)
    assert poses.boxes[0, 0].tolist() == [20, 40, 60, 120], "network pixels times two"
    assert poses.boxes[0, 2].tolist() == [0, 0, 20, 100], "clipped to the picture"
    assert np.allclose(poses.keypoints[0, 0], [40, 80]), "the box centre"
    assert np.allclose(poses.scores[0, 0], 0.5 * 0.75)
    assert poses.valid[0].tolist() == [True, False, True, True, True, True]
    assert not poses.valid[1].any(), "a filler picture reports nothing"


@pytest.mark.slow
def test_bfloat16_computes_and_keeps_float32_parameters():
    model = small_model(dtype="bfloat16", light=False, stages=1)
    total, _, gradients, _ = loss_and_gradients(model, people_batch())
    exact, _ = losses(small_model(light=False, stages=1), people_batch())
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {np.dtype("float32")}
    chex.assert_tree_all_finite(gradients)
    assert abs(total - exact) < 0.05 * abs(exact)


def test_resnet_trains_from_the_third_stage_on():
    config = ConfigDict(dict(name="resnet", depth=50, width=256, remat=False))
    state = nnx.state(nnx.eval_shape(lambda: Backbone(config, jnp.dtype("float32"), nnx.Rngs(0))))
    trained = {path[:3] for path, leaf in nnx.to_flat_state(state) if isinstance(leaf, nnx.Param)}
    frozen = {path[:3] for path, leaf in nnx.to_flat_state(state) if isinstance(leaf, Frozen)}
    assert ("trunk", "stem", "conv") not in trained
    assert ("trunk", "stages", 0) not in trained
    assert ("trunk", "stages", 0) in frozen
    assert ("trunk", "stages", 1) in trained
    size = sum(leaf.size for path, leaf in nnx.to_flat_state(state) if isinstance(leaf, nnx.Param))
    assert round(size / 1e6, 2) == 26.58, "million parameters that are not frozen, as released"
