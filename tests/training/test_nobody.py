"""Pictures without people as negatives (data.keep_empty): batches of nobody, from the file to the moved parameters."""

import json

import jax
import numpy as np
import pytest

from input_pipeline import batching, loader
from querypose_jax.devices import sharding
from querypose_jax.training.build import build
from tests import insect_run
from tests.insects import write_insects

NOBODY = 6  # of the 7 pictures


@pytest.fixture
def config(tmp_path):
    """Insects, all but one of whose pictures lost their annotations; the ladder of people tells a batch's budget."""
    write_insects(tmp_path / "insects", train=7, val=1)
    path = tmp_path / "insects" / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == 0]
    path.write_text(json.dumps(content))
    config = insect_run.get_config()
    config.data.update(
        root=str(tmp_path / "insects"), prepared=str(tmp_path / "prepared"), batch_size=2, block_batches=7,
        people_ladder=(2, 8),
    )  # fmt: skip
    return config


def test_pictures_of_nobody_come_where_they_are_wanted_and_only_there(config):
    split = loader.open_split(config, "train")
    assert batching.training_amounts(config.data, split.annotations)[0] == 1
    config.data.keep_empty = True
    assert batching.training_amounts(config.data, split.annotations)[0] == 1 + NOBODY
    batches = list(loader.train_batches(config, split, start_step=0, shards=1, stop_step=7))
    assert sorted(int(i) for batch in batches for i in batch.image_id) == sorted([*range(7)] * 2)
    empty = [batch for batch in batches if not batch.is_person.any()]
    assert len(empty) >= 5
    for batch in empty:
        assert not batch.boxes.any() and not batch.keypoints.any() and batch.image.any()
        assert batch.budget.people == 2


@pytest.mark.slow
def test_a_step_on_nobody_is_finite_and_moves_the_scores_alone(config):
    config.data.keep_empty = True
    split = loader.open_split(config, "train")
    batches = loader.train_batches(config, split, start_step=0, shards=1, stop_step=7)
    batch = next(batch for batch in batches if not batch.is_person.any())
    mesh, _, state, step = build(config)
    before = jax.tree.map(np.array, state.params)
    with jax.set_mesh(mesh):
        after, metrics = step(state, sharding.put_batch(batch, mesh))
    metrics = {name: float(value) for name, value in metrics.items()}
    assert not metrics["skipped"]
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["loss/total"] > 0 and metrics["grad_norm"] > 0  # every query is told that nobody is there
    assert [name for name, value in metrics.items() if name.startswith("loss/") and value] == [
        "loss/loss_ce",
        "loss/total",
    ]
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(jax.tree.map(np.array, after.params)))
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), after.params, before)
    assert any(jax.tree.leaves(moved))
