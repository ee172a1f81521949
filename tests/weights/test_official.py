"""Official state dicts: the round trip is the identity, and what does not fit is named."""

import numpy as np
import pytest
from flax import nnx

from configs import coco_r50
from querypose_jax.layers.layouts import Path
from querypose_jax.models.querypose.released import official_names
from querypose_jax.models.registry import build_model
from querypose_jax.weights import from_official, to_official


@pytest.fixture(scope="module")
def config():
    config = coco_r50.get_config()
    config.model.update(
        stages=2, dim=16, heads=2, ffn_dim=16, dynamic_dim=4, part_dim=16, num_proposals=4, pose_convs=2
    )
    config.model.backbone.width = 16
    return config


@pytest.fixture(scope="module")
def state(config):
    """A state dict with official names, every number different."""
    abstract = nnx.state(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))
    names = official_names(config)
    shapes: dict[Path, tuple] = {path: leaf.shape for path, leaf in nnx.to_flat_state(abstract)}
    rng, made = np.random.default_rng(0), {}
    for path, shape in shapes.items():
        tensors = names[path].to_official(np.zeros(shape, np.float32))
        for name, tensor in zip(names[path].names, tensors, strict=True):
            made[name] = rng.standard_normal(tensor.shape, np.float32)
    return made


def test_round_trip_is_the_identity(config, state):
    back = to_official(from_official(state, config), config)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_imported_weights_make_a_running_model(config, state):
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: build_model(config, rngs=nnx.Rngs(0))))
    model = nnx.merge(graphdef, from_official(state, config))
    assert np.array_equal(model.proposal_queries[...], state["init_proposal_features.weight"])
    left_elbow = model.pose_decoders[1].coordinates.kernel[...][7]  # keypoint 7 is the first of part 2
    assert np.array_equal(left_elbow, state["head.pose_head_series.1.fc_coord.2.linear.weight"][:2].T)


def test_what_carries_nothing_is_ignored(config, state):
    unused = {"head.pose_head_series.0.updater.fc3.weight": np.zeros(1), "criterion.flow.flow.mask": np.zeros(1)}
    from_official(state | unused, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("part_query.weight"), r"1 names are missing: part_query.weight; is the config"),
        (lambda state: state.update(extra=np.zeros(1)), r"1 names are not part of this model: extra; is the config"),
        (
            lambda state: state.update({"part_query.weight": np.zeros((3, 16))}),
            r"1 shapes differ: part_query.weight \(3, 16\) instead of \(7, 16\)",
        ),
    ],
)
def test_misfits_are_named(config, state, change, message):
    changed = dict(state)
    change(changed)
    with pytest.raises(ValueError, match=message):
        from_official(changed, config)
