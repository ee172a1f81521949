"""The paper's ablations: every variant is the model that its name says, learns, and is not the default under a name."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import ablations, ablations_tiny
from querypose_jax.checkpoints.checkpoint import named_leaves
from querypose_jax.errors import UserError
from querypose_jax.models.base import Wanted
from querypose_jax.models.querypose.params import head_names
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import COCO, get_skeleton
from tests.models.small_model import people_batch, small_config

READINGS = ("mean", "mhsa", "channel", "spatial")
# One variant of each switch in the fast tier: tracing one takes seconds.
TRACED_FAST = ("query=iq_mhsa", "query=pq_spatial", "iteration=concatenation", "modules=baseline", "parts=17")
TRACED_SLOWLY = [variant for variant, changes in ablations.VARIANTS.items() if changes and variant not in TRACED_FAST]


def small_variant(variant: str) -> ConfigDict:
    """The smallest model with two stages that still has what the variant changes."""
    config = small_config(light=False, stages=2, pose_roi=4, box_roi=4, pose_convs=1, flow_couplings=2)
    return ablations.varied(config, variant)


def build(config: ConfigDict) -> nnx.Module:
    return build_model(config, rngs=nnx.Rngs(0))


@functools.cache
def shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes; nothing is computed."""
    model = nnx.eval_shape(lambda: build(small_variant(variant)))
    return {name: leaf.shape for name, leaf in named_leaves(nnx.state(model, nnx.Param)).items()}


def pyramid_of(pictures: int) -> list[jax.Array]:
    """Random features P2..P5 of pictures of 64 x 96."""
    rng = np.random.default_rng(1)
    return [jnp.asarray(rng.standard_normal((pictures, 64 // s, 96 // s, 16)), jnp.float32) for s in (4, 8, 16, 32)]


@functools.cache
def cascade(variant: str, train: bool):
    """What the stages of a fresh model give for two pictures with three and two people."""
    config = small_variant(variant)
    batch = people_batch(people=(3, 2))
    graphdef, state = nnx.split(build(config))

    @jax.jit
    def run(state, pyramid):
        return nnx.merge(graphdef, state, copy=True).cascade(pyramid, batch, train)

    return run(state, pyramid_of(2))


@pytest.mark.parametrize("variant", [*TRACED_FAST, *(pytest.param(v, marks=pytest.mark.slow) for v in TRACED_SLOWLY)])
def test_training_and_inference_of_every_variant_have_the_shapes_of_the_default(variant):
    model = nnx.eval_shape(lambda: build(small_variant(variant)))
    graphdef, state = nnx.split(model)

    def both(state, batch):
        model = nnx.merge(graphdef, state, copy=True)
        total, terms = model.loss(model(batch, train=True), batch)
        outputs = model(batch)
        return total, terms, outputs.xy, outputs.boxes

    total, terms, xy, boxes = jax.eval_shape(both, state, people_batch())
    assert total.shape == () and len(terms) == 8, "four losses in each of two stages"
    assert (xy.shape, boxes.shape) == ((2, 4, 6, 17, 2), (2, 4, 6, 4))


@pytest.mark.parametrize("variant", [v for v, changes in ablations.VARIANTS.items() if changes])
def test_every_variant_changes_the_model_that_is_built_or_how_it_is_run(variant):
    config, default = small_variant(variant), small_variant("default")
    runs_otherwise = variant.startswith(("query_iteration", "feedback")) or variant == "iteration=summation"
    is_default = variant in (
        "query=pq_attention", "iteration=selective", "feedback=released", f"part_dim={default.model.part_dim}"
    )  # fmt: skip
    assert (config.to_dict() == default.to_dict()) == is_default
    if not runs_otherwise and not is_default:
        assert shapes(variant) != shapes("default")


def test_parameters_of_the_variants_are_what_their_names_say():
    default, stage = shapes("default"), "pose_decoders.0."
    assert f"{stage}selective_iteration.expand.kernel" in default
    without = {name for name in default if "selective_iteration" not in name}
    assert set(shapes("iteration=none")) == set(shapes("iteration=summation")) == without
    assert shapes("modules=spegm") == shapes("iteration=none")
    assert shapes("modules=spegm_sim") == default
    assert shapes("iteration=concatenation")[f"{stage}concatenation.kernel"] == (32, 16)
    assert not any("part_embedding" in name for name in shapes("modules=baseline"))
    assert shapes("part_dim=32")["part_queries"] == (7, 32)
    assert [shapes(f"parts={count}")["part_queries"][0] for count in (17, 13, 7, 5)] == [17, 13, 7, 5]
    assert "part_queries" not in shapes("query=iq_mhsa")
    assert shapes("query=iq_channel")[f"{stage}part_residuals.kernel"][0] == 1, "one part"


def test_part_schemes_differ_in_their_parts_only():
    for count in (17, 13, 5, 1):
        skeleton = get_skeleton(f"coco_parts_{count}")
        assert len(skeleton.parts) == count
        assert (skeleton.names, skeleton.sigmas, skeleton.flip_index) == (COCO.names, COCO.sigmas, COCO.flip_index)


@pytest.mark.parametrize("how", ["none", "summation", "concatenation"])
def test_part_queries_are_iterated_as_the_name_says(how):
    decoder = build(small_variant(f"iteration={how}")).pose_decoders[0]
    rng = np.random.default_rng(0)
    embedding, carried = (jnp.asarray(rng.standard_normal((1, 3, 7, 16)), jnp.float32) for _ in range(2))
    found = decoder.iterate(embedding, carried)
    if how == "concatenation":
        kernel, bias = decoder.concatenation.kernel[...], decoder.concatenation.bias[...]
        expected = embedding @ kernel[:16] + carried @ kernel[16:] + bias
    else:
        expected = embedding + carried if how == "summation" else embedding
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("reading", READINGS)
def test_readings_differ_by_person_and_by_part_and_depend_on_what_they_should(reading):
    """All look at the map. The mean alone minds neither where something is nor what the part query asks."""
    config = small_variant("default")
    config.model.update(part_reading=reading)
    decoder = build(config).pose_decoders[0]
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((3, 4, 4, 16)), jnp.float32)
    part_queries = jnp.asarray(rng.standard_normal((1, 3, 7, 16)), jnp.float32)
    found = decoder.embed_parts(features, part_queries, None)
    assert found.shape == part_queries.shape
    assert not np.allclose(found[0, 0], found[0, 1], atol=1e-3), "another person"
    assert not np.allclose(found[0, 0, 0], found[0, 0, 1], atol=1e-3), "another part"
    other_map = decoder.embed_parts(features.at[0].multiply(-1), part_queries, None)
    assert not np.allclose(found[0, 0], other_map[0, 0], atol=1e-3)
    assert np.allclose(found[0, 1:], other_map[0, 1:], atol=1e-5), "people do not mix"
    asked_otherwise = decoder.embed_parts(features, part_queries[:, :, ::-1], None)
    assert np.allclose(found, asked_otherwise, atol=1e-3) == (reading == "mean")
    turned = decoder.embed_parts(features[:, ::-1], part_queries, None)
    minds_places = reading in ("channel", "spatial")  # self-attention sees a set of cells
    assert np.allclose(found, turned, atol=1e-3) != minds_places


def test_joints_of_an_instance_query_model_start_from_the_instance_query():
    model = build(small_variant("query=iq_attention"))
    queries = jnp.arange(2 * 3 * 16.0).reshape(2, 3, 16)
    carried = jnp.zeros((2, 3, 1, 16))
    assert np.array_equal(model.joint_queries(queries, carried)[:, :, 0], queries)
    assert np.array_equal(build(small_variant("default")).joint_queries(queries, carried + 5), carried + 5)


@pytest.mark.slow
def test_feedback_changes_what_the_second_stage_sees_in_training():
    """Matched queries alone (released), none or all are refined before the second box stage."""
    released, none, every = (cascade(f"feedback={which}", True) for which in ("released", "none", "all"))
    chex.assert_trees_all_close(released.logits[0], none.logits[0], atol=1e-5)
    chex.assert_trees_all_close(released.logits[0], every.logits[0], atol=1e-5)
    is_row = released.rows.is_row
    chex.assert_trees_all_close(released.xy[0][is_row], every.xy[0][is_row], atol=1e-4)  # people mind no other query
    unequal = [abs(a.logits[1] - b.logits[1]).max() for a, b in ((released, none), (released, every), (none, every))]
    assert min(unequal) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("which", ["released", "none", "all"])
def test_class_scores_are_the_same_in_training_and_at_test_unless_matched_queries_are_fed_back(which):
    """With the released feedback a query tells in training whether it was matched, and never at test time."""
    trained = cascade(f"feedback={which}", True)
    tested = cascade("feedback=all" if which == "all" else "default", False)
    assert np.allclose(trained.logits, tested.logits, atol=1e-4) == (which != "released")


@pytest.mark.slow
def test_refined_queries_are_kept_at_test_time_by_query_iteration_3b_and_by_feedback_of_all():
    default, figure_b, every = (cascade(v, False) for v in ("default", "query_iteration=3b", "feedback=all"))
    assert np.allclose(default.logits[0], figure_b.logits[0], atol=1e-5)
    assert not np.allclose(default.logits[1], figure_b.logits[1], atol=1e-3)
    assert np.allclose(every.logits, figure_b.logits, atol=1e-5), "they differ in training"


def test_prediction_with_feedback_of_all_queries_runs_them_all_although_pruning_is_asked_for():
    model = nnx.eval_shape(lambda: build(small_variant("feedback=all")))
    graphdef, state = nnx.split(model)

    def refined(state):
        """Queries that the pose stages ran for, which only pruning counts."""
        return nnx.merge(graphdef, state, copy=True).predict(people_batch(), Wanted(best=2)).notes

    assert jax.eval_shape(refined, state) is None


def test_weights_of_a_variant_have_no_official_names():
    for variant in ("iteration=none", "modules=baseline", "query=iq_attention"):
        with pytest.raises(UserError, match="has layers without official names"):
            head_names(small_variant(variant).model, COCO)
    head_names(small_variant("feedback=all").model, COCO)


def test_attention_maps_of_a_model_without_attention_are_one_line():
    decoder = build(small_variant("modules=baseline")).pose_decoders[0]
    with pytest.raises(UserError, match="part_reading='mean' has no attention maps"):
        decoder.attention_maps(pyramid_of(1)[0], jnp.zeros((1, 2, 4)), jnp.zeros((1, 2), jnp.int32))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [v for v, changes in ablations.VARIANTS.items() if changes])
def test_every_variant_trains_a_few_steps_and_its_loss_falls(variant):
    batch = people_batch(people=(2, 1))
    config = small_variant(variant)
    graphdef, params, rest = nnx.split(build(config), nnx.Param, ...)

    def loss(params, rest):
        model = nnx.merge(graphdef, params, rest, copy=True)
        total, _ = model.loss(model(batch, train=True), batch)
        return total, nnx.state(model, nnx.Not(nnx.Param))

    @jax.jit
    def step(params, rest):
        (total, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params, rest)
        norm = jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradients)))
        size = 0.1 / jnp.maximum(norm, 1)
        return jax.tree.map(lambda p, g: p - size * g, params, gradients), rest, total, norm

    totals = []
    for _ in range(6):
        params, rest, total, norm = step(params, rest)
        totals.append(float(total))
        assert np.isfinite(total) and np.isfinite(norm) and norm > 0
    assert min(totals[1:]) < totals[0], totals


@pytest.mark.parametrize("variant", ablations.VARIANTS)
def test_the_small_setting_is_full_where_the_dynamic_mlp_on_the_instance_query_is_the_question(variant):
    is_about_it = ablations_tiny.get_config(variant).model.light is False
    assert is_about_it == (variant.split("=")[0] in ("feedback", "query_iteration"))
