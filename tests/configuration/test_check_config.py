"""Configurations that cannot work cost one line; the ones that are shipped pass."""

import jax
import pytest

from configs import coco_r50, synthetic_tiny
from querypose_jax.configuration.check_config import check_config
from querypose_jax.errors import UserError
from tests import tiny_run


@pytest.mark.parametrize("module", [coco_r50, synthetic_tiny, tiny_run])
def test_shipped_configurations_pass(module):
    check_config(module.get_config())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.max_people", 0, r"data.max_people=0 must be positive"),
        ("data.max_people", 21, r"data.max_people=21 is more than model.num_proposals=20: keep at most 20 people"),
        ("matching.solver", "lax", r"matching.solver='lax' is unknown; known: callback"),
        ("eval.canvas", "tight", r"eval.canvas='tight' is unknown; known: ladder, exact"),
        ("eval.image_filter", "people", r"eval.image_filter='people' is unknown; known: all, with_person"),
        ("model.dtype", "float16", r"model.dtype='float16' is unknown; known: float32, bfloat16$"),
        ("model.dtype", "float64", r"model.dtype='float64' is unknown; known: float32, bfloat16$"),
        ("model.dim", 66, r"model.dim=66 must be a multiple of model.heads=4"),
        ("model.part_dim", 62, r"model.part_dim=62 must be a multiple of model.heads=4"),
        ("model.heads", 0, r"model.heads=0 must be positive"),
        ("model.iteration", "sum", r"model.iteration='sum' is unknown; known: selective, none, summation"),
        ("model.part_reading", "max", r"model.part_reading='max' is unknown; known: attention, mhsa"),
        ("model.query_feedback", "some", r"model.query_feedback='some' is unknown; known: released, none, all"),
        (
            "model.query_feedback",
            "all",
            r"model.query_feedback='all' is for the full version, .* add --config.model.light=False",
        ),
        ("model.pose_query", "joint", r"model.pose_query='joint' is unknown; known: part, instance, pooled"),
        ("data.canvases", ((160, 200),), r"data.canvases=\(\(160, 200\),\) must be pairs .* of multiples of 32"),
        ("data.canvases", (), r"data.canvases=\(\) must be pairs"),
        ("data.batch_size", 0, r"data.batch_size=0 must be positive"),
        ("data.people_ladder", (0, 8), r"data.people_ladder=\(0, 8\) must be positive"),
        ("eval.batch_size", -1, r"eval.batch_size=-1 must be positive"),
        ("data.people_ladder", (24, 8), r"data.people_ladder=\(24, 8\) must ascend"),
        ("data.flip", 1.5, r"data.flip=1.5 must be from 0 to 1"),
        ("mesh.data", 3, r"data.batch_size=8 does not split over 3 devices .* take a multiple of 3"),
        ("mesh.data", 0, r"mesh.data=0 must be positive, or -1 for all devices"),
        ("mesh.fsdp", 3, r"data.batch_size=8 does not split over 3 devices"),
        ("eval.every", -5, r"eval.every=-5 must not be negative"),
        ("train.keep_last", 0, r"train.keep_last=0 must be positive"),
        ("optimizer.schedule", "poly", r"optimizer.schedule='poly' is unknown; known: steps, cosine"),
        ("train.ema_decay", 1.0, r"train.ema_decay=1.0 must be below 1"),
        ("train.ema_decay", -0.1, r"train.ema_decay=-0.1 must be from 0 to 1"),
        ("optimizer.name", "sgd", r"optimizer.name='sgd' is unknown; known: adamw, adam"),
        ("optimizer.clip_norm", -1.0, r"optimizer.clip_norm=-1.0 must not be negative"),
        ("optimizer.milestones", (5, 8), r"optimizer.milestones=\(5, 8\) must be pairs \(step, factor\)"),
        ("optimizer.milestones", ((5, 0.1, 2),), r"optimizer.milestones=.* must be pairs \(step, factor\)"),
        ("optimizer.milestones", ((5, 0.0),), r"optimizer.milestones=.* must be pairs .*, factors positive"),
        ("optimizer.milestones", ((8, 0.1), (5, 0.01)), r"optimizer.milestones=.* must have ascending steps"),
        ("data.skeleton", "octopus", r"data.skeleton='octopus' is unknown; known: coco"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_is_allowed(key, value, message):
    config = synthetic_tiny.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"^config\.{message}"):
        check_config(config)


def test_a_schedule_may_go_up_again_or_never_change():
    config = synthetic_tiny.get_config()
    for milestones in (((65, 0.2), (70, 0.04), (78, 1.0)), ()):
        config.optimizer.milestones = milestones
        check_config(config)


def test_double_precision_is_allowed_where_jax_has_it():
    config = synthetic_tiny.get_config()
    config.model.dtype = "float64"
    with jax.enable_x64(True):
        check_config(config)


@pytest.mark.parametrize("query", ["instance", "pooled"])
def test_models_without_part_queries_are_asked_for_one_part_of_full_width_that_is_not_carried(query):
    config = coco_r50.get_config()
    config.model.pose_query = query
    for changes, problem in (
        ({}, "needs model.part_dim=128 to equal model.dim=256"),
        ({"model.part_dim": 256}, "has no part queries: data.skeleton must have one part, has 7; coco_parts_1 has one"),
        ({"data.skeleton": "coco_parts_1"}, "has no part queries to carry on: set model.iteration='none'"),
    ):
        config.update_from_flattened_dict(changes)
        with pytest.raises(UserError, match=f"^config.model.pose_query='{query}' {problem}"):
            check_config(config)
    config.model.iteration = "none"
    check_config(config)


def test_what_was_not_trained_is_not_fed_back_at_test_time():
    config = coco_r50.get_config()
    config.model.update(query_feedback="none", carry_query_at_test=True)
    with pytest.raises(UserError, match=r"='none' feeds back at test time what it did not in training"):
        check_config(config)
