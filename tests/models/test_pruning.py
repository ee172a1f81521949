"""Pruning leaves out only what cannot be among the results: on random and adversarial scores, and on the model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from querypose_jax.models.base import PoseModel, Wanted
from querypose_jax.models.querypose.pruning import Pruning, Refined, pruning_for, refine_wanted
from querypose_jax.structures import Poses
from tests.models.small_model import people_batch, small_model

QUERIES = 40


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def compiled(pruning):
    """refine_wanted where query q of picture b ends with box score x factor."""

    @jax.jit
    def run(box_scores, is_box, factor, threshold):
        def refine(chosen):
            inside = jnp.minimum(chosen, box_scores.shape[1] - 1)
            nothing = jnp.zeros((*chosen.shape, 1, 2))
            return Refined(nothing, nothing, jnp.take_along_axis(box_scores * factor, inside, 1))

        return refine_wanted(pruning, box_scores, is_box, refine, threshold)

    return run


def refined(box_scores, is_box, factor, pruning, threshold=0.0):
    """What pruning finds, and which queries ran; numpy."""
    return jax.device_get(compiled(pruning)(*(jnp.asarray(x) for x in (box_scores, is_box, factor, threshold))))


def best(scores, is_result, count):
    """Queries of the `count` best results, ties by query index, as COCO's stable sort takes them."""
    scores = np.where(is_result, scores, -1)
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(q) for q in order if is_result[q]]


def scores_with_ties(draw, shape):
    levels = draw(st.sampled_from([2, 3, 10, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, levels, shape) / (levels - 1)


@st.composite
def problems(draw):
    shape = (2, QUERIES)
    box_scores = scores_with_ties(draw, shape)
    factor = scores_with_ties(draw, shape)
    if draw(st.booleans()):
        factor = np.ones(shape)  # saturated: the final score is the box score
    is_box = np.random.default_rng(draw(st.integers(0, 9))).random(shape) < draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))
    return box_scores, is_box, factor


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([3, 7, 40]), st.sampled_from([1, 5, 20, 41]))
def test_the_best_results_are_those_of_all_queries_ties_and_empty_boxes_included(problem, chunk, count):
    box_scores, is_box, factor = problem
    pruning = Pruning(chunk=chunk, best=count)
    found, has_run = refined(box_scores, is_box, factor, pruning)
    for b in range(len(box_scores)):
        full = best(box_scores[b] * factor[b], is_box[b], count)
        assert best(found.scores[b], is_box[b] & has_run[b], count) == full
        assert np.array_equal(found.scores[b][full], (box_scores[b] * factor[b])[full])


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([3, 7]), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_every_result_from_the_threshold_on_is_there(problem, chunk, threshold):
    box_scores, is_box, factor = problem
    _, has_run = refined(box_scores, is_box, factor, Pruning(chunk=chunk), threshold)
    wanted = is_box & (box_scores * factor >= threshold)
    assert not (wanted & ~has_run).any()


def test_what_runs_is_no_more_than_needed():
    """20 sure people among 100 queries: one chunk of 30 proves them, and a threshold stops at the first chunk."""
    box_scores = jnp.where(jnp.arange(100) < 20, 0.9, 0.1)[None]
    everything = jnp.ones((1, 100), bool)
    _, has_run = refined(box_scores, everything, jnp.full((1, 100), 0.8), pruning_for(Wanted(best=20)))
    assert has_run.sum() == 30
    _, has_run = refined(box_scores, everything, jnp.full((1, 100), 0.8), Pruning(chunk=10), 0.5)
    assert has_run.sum() == 20
    _, has_run = refined(box_scores, jnp.zeros((1, 100), bool), jnp.ones((1, 100)), pruning_for(Wanted(best=20)))
    assert has_run.sum() == 0, "nothing is left after clipping"


def test_a_tie_with_the_last_wanted_score_is_run():
    """Box scores equal to the 20th best final score might tie with it and come first by query index."""
    box_scores = jnp.concatenate([jnp.full((1, 30), 0.5), jnp.full((1, 70), 0.5)], 1)
    _, has_run = refined(box_scores, jnp.ones((1, 100), bool), jnp.ones((1, 100)), pruning_for(Wanted(best=20)))
    assert has_run.all()


def test_a_fixed_number_of_chunks_is_kept_although_more_is_wanted():
    flat = jnp.full((2, 100), 0.5)
    pruning = Pruning(chunk=30, best=20, most_chunks=1)
    _, has_run = refined(flat, jnp.ones((2, 100), bool), jnp.full((2, 100), 0.1), pruning)
    assert has_run.sum(1).tolist() == [30, 30]


@pytest.mark.slow
@pytest.mark.parametrize("light", [True, False])
def test_the_model_reports_the_same_poses_with_and_without_pruning(light):
    model = small_model(light=light, dtype="float64", num_proposals=12, proposal_grid=(3, 4))
    graphdef, state = nnx.split(model)
    batch = people_batch(people=(2, 1, 0))
    batch = dataclasses.replace(batch, image_id=jnp.array([4, 7, -1]))

    @jax.jit
    def both(state, batch):
        model = nnx.merge(graphdef, state)
        return model.predict(batch), model.predict_pruned(batch, Pruning(chunk=5, best=3))

    full, pruned = jax.device_get(both(state, batch))
    assert not full.valid[2].any() and not pruned.valid[2].any(), "a filler has no people"
    for b in range(2):
        top = best(full.scores[b], full.valid[b], 3)
        assert best(pruned.scores[b], pruned.valid[b], 3) == top
        for name in ("scores", "boxes", "keypoints", "keypoint_scores", "labels"):
            a, c = (np.asarray(getattr(poses, name))[b][top] for poses in (full, pruned))
            assert np.allclose(a, c, rtol=1e-9, atol=1e-9), name
    assert (pruned.valid <= full.valid).all()


@pytest.mark.slow
def test_queries_that_the_pose_stages_change_are_never_pruned():
    model = small_model(light=False, carry_query_at_test=True)
    batch = people_batch(people=(2,))
    graphdef, state = nnx.split(model)

    predict = jax.jit(lambda state, wanted: nnx.merge(graphdef, state).predict(batch, wanted))
    full, pruned = predict(state, None), predict(state, Wanted(best=1))
    assert np.array_equal(full.scores, pruned.scores) and np.array_equal(full.valid, pruned.valid)
    assert not model.leaves_out and pruned.notes is None


def test_a_pose_model_that_knows_no_pruning_reports_everything():
    everything = Poses(*(jnp.zeros((1, 2, *more)) for more in ((), (), (), (4,), (17, 2), (17,))))

    class Everything(PoseModel):
        def __call__(self, batch, train=False, key=None):
            return batch

        def decode(self, outputs, batch):
            return everything

    assert Everything().predict(people_batch(people=(1,)), Wanted(20, 0.5)) is everything
    assert not Everything().leaves_out
