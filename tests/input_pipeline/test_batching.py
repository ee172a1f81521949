"""The plan of a step: draws by sample, every picture once per epoch, one canvas per batch, balanced people."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from configs import querypose
from configs.simplepose import synthetic_tiny as simplepose_tiny
from input_pipeline import batching
from input_pipeline.annotations import labelled_centres
from input_pipeline.people import draw_people
from input_pipeline.synthetic import index_of
from input_pipeline.targets import empty_pixels, make_batch
from querypose_jax.errors import UserError
from querypose_jax.recipes.affine import RECIPE as AFFINE
from querypose_jax.recipes.querypose import CANVAS_STEP, RECIPE
from querypose_jax.recipes.warp import labelled_centre


@pytest.fixture(scope="module")
def annotations():
    """50 pictures of five shapes."""
    shapes = [(100, 130), (130, 100), (90, 140), (120, 120), (60, 150)]
    return index_of([draw_people(1, "train", i, *shapes[i % 5], 3) for i in range(50)])


@pytest.fixture
def config():
    config = querypose.get_config()
    config.data.update(
        batch_size=8, block_batches=5, max_people=3, crop_short_sides=(64,), crop_sides=(40, 60), short_sides=(64, 96),
        longest_side=200, people_ladder=(4, 8, 16, 32),
        canvases=((96, 128), (96, 224), (128, 96), (224, 96), (224, 224)),
    )  # fmt: skip
    return config


def samples_of(plans):
    """(record, geometry as tuple) of every picture of some batches."""
    for planned in plans:
        for member in planned.members:
            values = [tuple(np.ravel(field[member]).tolist()) for field in planned.samples.geometry]
            yield int(planned.samples.rows[member]), *values


def test_an_epoch_holds_every_usable_picture_once(annotations):
    is_target = np.ones(len(annotations.bbox), bool)
    is_target[annotations.start[7] : annotations.start[8]] = False  # picture 7 has crowds only
    usable = sorted(set(range(50)) - {7})
    index = batching.usable_rows(annotations, RECIPE, is_target, keep_empty=False)
    rows = batching.stream_rows(index, seed=3, first=0, count=49 * 3).reshape(3, 49)
    assert [sorted(epoch) for epoch in rows.tolist()] == [usable] * 3
    assert (rows[0] != rows[1]).any()
    np.testing.assert_array_equal(batching.stream_rows(index, 3, 60, 20), rows.reshape(-1)[60:80])
    assert (batching.stream_rows(index, 4, 0, 49) != rows[0]).any()


def test_nobody_to_train_on_is_one_clear_line(annotations):
    with pytest.raises(UserError, match="no picture of the training split has a person"):
        batching.usable_rows(annotations, RECIPE, np.zeros(len(annotations.bbox), bool), keep_empty=True)


def test_pictures_without_people_are_used_where_they_are_wanted(annotations):
    nobody, crowd = 7, 8
    kept = annotations.picture_of_object != nobody
    start = np.concatenate([[0], np.cumsum(np.bincount(annotations.picture_of_object[kept], minlength=50))])
    people = {name: getattr(annotations, name)[kept] for name in ("bbox", "is_crowd", "is_degenerate", "num_keypoints")}
    annotations = dataclasses.replace(annotations, start=start, **people)
    is_target = annotations.picture_of_object != crowd
    expected = [row for row in range(50) if row not in (nobody, crowd)]
    assert batching.usable_rows(annotations, RECIPE, is_target, keep_empty=False).tolist() == expected
    assert batching.usable_rows(annotations, RECIPE, is_target, keep_empty=True).tolist() == sorted([*expected, nobody])


def test_draws_depend_on_seed_and_sample_alone():
    whole = batching.sample_uniform(9, 0, 64, 8)
    np.testing.assert_array_equal(batching.sample_uniform(9, 17, 5, 8), whole[17:22])
    assert (batching.sample_uniform(10, 0, 64, 8) != whole).all()
    assert 0 <= whole.min() < 0.05
    assert 0.95 < whole.max() < 1
    np.testing.assert_array_equal(batching.sample_uniform(9, 17, 5, 7), whole[17:22, :7])
    many = batching.sample_uniform(9, 0, 64, 19)
    np.testing.assert_array_equal(batching.sample_uniform(9, 17, 5, 19), many[17:22])
    assert len(np.unique(many)) == many.size, "no number is drawn twice"
    assert abs(np.corrcoef(batching.sample_uniform(9, 0, 5000, 8).T) - np.eye(8)).max() < 0.06


def test_regrouping_changes_neither_samples_nor_their_draws(annotations, config):
    """The samples of a block are those of the stream, whatever the size of blocks and batches."""
    plans = batching.plan_block(annotations, config, 1, 0) + batching.plan_block(annotations, config, 1, 1)
    config.data.update(batch_size=16, block_batches=5)
    other = batching.plan_block(annotations, config, 1, 0)
    assert Counter(samples_of(plans)) == Counter(samples_of(other))


def test_canvas_is_the_smallest_that_holds_all_pictures_of_its_batch(annotations, config):
    plans = batching.plan_block(annotations, config, 1, 0)
    for planned in plans:
        sizes = planned.samples.geometry.final[planned.members]
        assert (sizes <= planned.canvas).all()
        smaller = [c for c in config.data.canvases if np.prod(c) < np.prod(planned.canvas)]
        assert not any((sizes <= c).all() for c in smaller)
    assert len({planned.canvas for planned in plans}) > 2


def test_no_picture_is_lost_and_leftovers_meet_on_small_canvases():
    rng = np.random.default_rng(0)
    sizes = rng.integers(30, 90, (64, 2))
    canvases = [(48, 96), (96, 48), (96, 96), (64, 64), (200, 200)]
    batches = batching.group_for_training(sizes, np.ones(64, int), canvases, 8)
    assert sorted(np.concatenate([members for members, _ in batches]).tolist()) == list(range(64))
    assert all((sizes[members] <= canvas).all() for members, canvas in batches)
    assert (200, 200) not in [canvas for _, canvas in batches]


def test_row_budget_holds_the_people_of_every_shard(annotations, config):
    for planned in batching.plan_block(annotations, config, 4, 2):
        people = planned.samples.targets.people[planned.members].reshape(4, -1).sum(1)
        assert planned.budget.shards == 4
        assert people.max() <= planned.budget.people
        assert planned.budget.people in config.data.people_ladder


def test_plan_but_its_packing_does_not_depend_on_the_number_of_devices(annotations, config):
    for few, many in zip(
        batching.plan_block(annotations, config, 1, 1), batching.plan_block(annotations, config, 8, 1), strict=True
    ):
        np.testing.assert_array_equal(few.members, many.members)
        assert few.canvas == many.canvas


def test_people_are_balanced_over_batches_and_over_halves_of_a_batch():
    people = np.random.default_rng(2).integers(1, 14, 64)
    batches = batching.group_for_training(np.full((64, 2), 10), people, [(32, 32)], 16)
    loads = [people[members].sum() for members, _ in batches]
    assert max(loads) - min(loads) <= 3
    for members, _ in batches:
        shards = people[members].reshape(8, 2).sum(1)
        assert shards.max() <= 1.6 * shards.mean()


def test_order_of_batches_is_shuffled_within_a_block_and_the_same_for_everybody(annotations, config):
    config.data.block_batches = 20
    canvases = [planned.canvas for planned in batching.plan_block(annotations, config, 1, 0)]
    assert canvases == [planned.canvas for planned in batching.plan_block(annotations, config, 1, 0)]
    changes = sum(a != b for a, b in itertools.pairwise(canvases))
    assert changes > len(set(canvases))


def test_evaluation_holds_every_picture_once_and_completes_with_fillers(annotations, config):
    config.eval.update(batch_size=2, canvas="exact")
    config.data.eval_short_side = 64
    plans = batching.plan_evaluation(annotations, config, shards=4)
    members = np.concatenate([planned.members for planned in plans])
    assert sorted(members[members != batching.FILLER].tolist()) == list(range(50))
    for planned in plans:
        assert len(planned.members) == 8
        sizes = planned.samples.geometry.final[planned.members[planned.members >= 0]]
        assert (-(-sizes // 32) * 32 == planned.canvas).all()
    config.eval.max_pictures = 9
    members = np.concatenate([planned.members for planned in batching.plan_evaluation(annotations, config, shards=1)])
    assert sorted(members[members >= 0].tolist()) == list(range(9))


def test_a_picture_that_fits_on_no_canvas_is_one_clear_line():
    with pytest.raises(UserError, match="none holds a picture of 40 x 90 pixels"):
        batching.smallest_canvas(np.array([[20, 20], [40, 90]]), [(32, 96), (96, 32)])


def test_a_batch_that_does_not_split_over_the_devices_is_one_clear_line(annotations, config):
    with pytest.raises(UserError, match="batch_size 8 does not split over 3 devices"):
        batching.TrainPlan(annotations, config, 3)


@pytest.mark.parametrize("canvas", querypose.get_config().data.canvases)
def test_default_canvases_are_multiples_of_the_coarsest_stride(canvas):
    assert all(side % CANVAS_STEP == 0 for side in canvas)


def test_a_recipe_that_looks_at_people_gets_the_middle_of_their_joints(annotations):
    config = simplepose_tiny.get_config()
    config.data.update(batch_size=5, block_batches=2, canvases=((160, 192),))
    is_target = AFFINE.is_target(annotations, config.data)
    is_target[annotations.start[3] : annotations.start[4]] = False
    centres = labelled_centres(annotations, is_target)
    for row in range(annotations.num_pictures):
        own = np.arange(annotations.start[row], annotations.start[row + 1])
        joints = annotations.keypoints[own[is_target[own]]]
        np.testing.assert_array_equal(centres[row], labelled_centre(joints, annotations.size[row]))
    planned = batching.plan_block(annotations, config, 1, 0)[0]
    assert planned.samples.targets.scale.shape == planned.samples.targets.area.shape
    pixels = empty_pixels(5, (160, 192), has_masks=True)
    batch = make_batch(annotations, AFFINE, *planned.samples, planned.members, pixels, 4, None)
    assert batch.loss_mask.shape == (5, 40, 48)
    assert (batch.person_scale[batch.is_person] > 0).all() and (batch.person_scale[~batch.is_person] == 0).all()
