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
from querypose_jax.models.querypose.part_reading import READINGS
from querypose_jax.models.querypose.pose_decoder import PoseDecoder
from querypose_jax.models.querypose.variants import carries_part_queries
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import COCO, get_skeleton
from tests.models.small_model import people_batch, small_config

# Some variants in the fast tier: tracing one takes seconds.
TRACED_FAST = ("query=iq_mhsa", "iteration=concatenation", "modules=baseline")
TRACED_SLOWLY = [variant for variant, changes in ablations.VARIANTS.items() if changes and variant not in TRACED_FAST]


def small_variant(variant: str) -> ConfigDict:
    """The smallest model with two stages that still has what the variant changes."""
    config = small_config(light=False, stages=2, pose_roi=4, box_roi=4, pose_convs=1, flow_couplings=2)
    return ablations.varied(config, variant)


def build(config: ConfigDict) -> nnx.Module:
    return build_model(config, rngs=nnx.Rngs(0))


def first_decoder(variant: str) -> PoseDecoder:
    """The pose decoder of the first stage alone, which is quick to build."""
    config = small_variant(variant)
    return PoseDecoder(config.model, get_skeleton(config.data.skeleton), jnp.dtype(config.model.dtype), nnx.Rngs(0))


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
    is_default = variant in ("iteration=selective", "feedback=released", f"part_dim={default.model.part_dim}")
    assert (config.to_dict() == default.to_dict()) == is_default
    if not runs_otherwise and not is_default:
        assert shapes(variant) != shapes("default")


def test_names_of_one_model_are_those_of_the_paper_and_twenty_trainings_stand_behind_all():
    configs = {variant: str(ablations.get_config(variant)) for variant in ablations.VARIANTS}
    same = [sorted(v for v in configs if configs[v] == text) for text in dict.fromkeys(configs.values())]
    assert [names for names in same if len(names) > 1] == [
        ["default", "feedback=released", "iteration=selective", "modules=spegm_sim", "part_dim=128", "parts=7"],
        ["iteration=none", "modules=spegm", "query=pq_attention"],
        ["feedback=none", "query_iteration=3a"],
    ]
    assert len(configs) == 29 and len(same) == 21, "query_iteration=3b is the default, evaluated otherwise"


def test_parameters_of_the_variants_are_what_their_names_say():
    default, stage = shapes("default"), "pose_decoders.0."
    assert f"{stage}selective_iteration.expand.kernel" in default
    without = {name for name in default if "selective_iteration" not in name}
    assert set(shapes("iteration=summation")) == without
    assert set(shapes("iteration=none")) == without - {"part_queries"}, "SPEGM alone reads no part query"
    assert shapes("iteration=concatenation")[f"{stage}concatenation.kernel"] == (32, 16)
    assert shapes("part_dim=32")["part_queries"] == (7, 32)
    assert [shapes(f"parts={count}")["part_queries"][0] for count in (17, 13, 7, 5)] == [17, 13, 7, 5]
    assert shapes("query=pq_channel")["part_queries"] == (7, 16)
    assert not any("selective_iteration" in name for name in shapes("query=pq_channel"))


def test_the_baseline_has_the_convolutions_and_one_layer_for_coordinates_and_spreads():
    light = nnx.eval_shape(lambda: build(ablations.varied(small_config(light=True), "modules=baseline")))
    names = named_leaves(nnx.state(light, nnx.Param))
    assert {name.split(".")[2] for name in names if name.startswith("pose_decoders.")} == {
        "convs", "coordinates", "uncertainty"
    }  # fmt: skip
    assert "part_queries" not in names


def test_the_baseline_regresses_from_the_mean_of_the_map_and_from_nothing_else():
    decoder = first_decoder("modules=baseline")
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((3, 4, 4, 16)), jnp.float32)
    queries = jnp.asarray(rng.standard_normal((1, 3, 16)), jnp.float32)
    found = decoder.regress(features, queries, None)
    mean = np.asarray(features).mean((1, 2))
    unit = mean / np.linalg.norm(mean, axis=-1, keepdims=True)  # as the released coordinate head has it
    kernel, bias = decoder.coordinates.kernel[...], decoder.coordinates.bias[...]
    assert np.allclose(found.xy[0], np.einsum("nc,kcx->nkx", unit, kernel) + bias, atol=1e-5)
    turned = decoder.regress(features[:, ::-1, ::-1], 2 * queries, None)
    chex.assert_trees_all_close((turned.xy, turned.sigma), (found.xy, found.sigma), atol=1e-5)


def test_an_instance_query_model_has_one_attention_map_and_no_parts():
    names = shapes("query=iq_attention")
    assert names["pose_decoders.0.part_embedding.attention.kernel"][-1] == 1, "one map for the whole person"
    pose = {name.split(".")[2] for name in names if name.startswith("pose_decoders.")}
    assert not pose & {"part_residuals", "selective_iteration", "attention"} and "part_queries" not in names


def test_what_an_instance_query_reads_is_added_to_it():
    decoder = first_decoder("query=iq_attention")
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((3, 4, 4, 16)), jnp.float32)
    queries = jnp.asarray(rng.standard_normal((1, 3, 16)), jnp.float32)
    embedding = decoder.part_embedding(features, None)[None, :, 0]
    found = decoder.regress(features, queries, None)
    decoder.part_embedding.project.kernel[...] *= 0
    decoder.part_embedding.project.bias[...] *= 0
    blind = decoder.regress(features, queries, None)
    assert not np.allclose(found.xy, blind.xy, atol=1e-3), "it reads the map"
    chex.assert_trees_all_close(decoder.regress(features, queries + embedding, None).xy, found.xy, atol=1e-5)


NOT_CARRIED = [v for v in ablations.VARIANTS if v.startswith("query=")] + ["iteration=none", "modules=baseline"]


def test_no_row_of_table_1_carries_part_queries():
    assert {v for v in ablations.VARIANTS if not carries_part_queries(small_variant(v).model)} == {
        *NOT_CARRIED, "modules=spegm"
    }  # fmt: skip


@pytest.mark.parametrize("variant", ["default", "query=pq_channel"])
def test_a_stage_takes_the_part_queries_of_the_stage_before_or_else_the_learnt_ones(variant):
    model, queries, carried = build(small_variant(variant)), jnp.zeros((2, 3, 16)), jnp.ones((2, 3, 7, 16))
    assert np.array_equal(model.first_part_queries(queries, None)[1, 2], model.part_queries[...])
    taken = model.first_part_queries(queries, carried)[1, 2]
    assert np.array_equal(taken, carried[1, 2] if variant == "default" else model.part_queries[...])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["default", "iteration=summation", *NOT_CARRIED])
def test_the_second_pose_stage_minds_the_first_only_where_part_queries_are_carried(variant):
    """In the light version, where a pose stage changes no instance query."""
    config = small_variant(variant)
    config.model.light = True
    batch, pyramid = people_batch(people=(3, 2)), pyramid_of(2)
    graphdef, state = nnx.split(build(config))

    @jax.jit
    def second_stage(state, factor):
        model = nnx.merge(graphdef, state, copy=True)
        for leaf in jax.tree.leaves(nnx.state(model.pose_decoders[0]), is_leaf=lambda x: isinstance(x, nnx.Param)):
            if isinstance(leaf, nnx.Param):
                leaf.set_value(leaf[...] * factor)
        return model.cascade(pyramid, batch, False).xy[1]

    moved = abs(second_stage(state, 3.0) - second_stage(state, 1.0)).max()
    assert (moved > 1e-3) == (variant in ("default", "iteration=summation"))


def test_part_schemes_differ_in_their_parts_only():
    for count in (17, 13, 5, 1):
        skeleton = get_skeleton(f"coco_parts_{count}")
        assert len(skeleton.parts) == count
        assert (skeleton.names, skeleton.sigmas, skeleton.flip_index) == (COCO.names, COCO.sigmas, COCO.flip_index)


@pytest.mark.parametrize("how", ["none", "summation", "concatenation"])
def test_part_queries_are_iterated_as_the_name_says(how):
    decoder = first_decoder(f"iteration={how}")
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
    """Each looks at the map and at what the part query asks."""
    read = first_decoder(f"query=pq_{reading}").part_reading
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.standard_normal((3, 4, 4, 16)), jnp.float32)
    part_queries = jnp.asarray(rng.standard_normal((3, 7, 16)), jnp.float32)
    found = read(features, part_queries)
    assert found.shape == part_queries.shape
    assert not np.allclose(found[0], found[1], atol=1e-3), "another person"
    assert not np.allclose(found[0, 0], found[0, 1], atol=1e-3), "another part"
    other_map = read(features.at[0].multiply(-1), part_queries)
    assert not np.allclose(found[0], other_map[0], atol=1e-3)
    assert np.allclose(found[1:], other_map[1:], atol=1e-5), "people do not mix"
    assert not np.allclose(found, read(features, part_queries[:, ::-1]), atol=1e-3)
    turned = read(features[:, ::-1], part_queries)
    minds_places = reading in ("channel", "spatial")  # self-attention sees a set of cells
    assert np.allclose(found, turned, atol=1e-3) != minds_places


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
    decoder = first_decoder("modules=baseline")
    with pytest.raises(UserError, match="pose_query='pooled' has no attention maps"):
        decoder.attention_maps(pyramid_of(1)[0], jnp.zeros((1, 2, 4)), jnp.zeros((1, 2), jnp.int32))
    decoder = first_decoder("query=iq_mhsa")
    with pytest.raises(UserError, match="part_reading='mhsa' has no attention maps"):
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
        size = 0.02 / jnp.maximum(norm, 1)  # a longer step may change who is matched, and the loss jumps with it
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
