from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from querypose_jax.devices import sharding
from querypose_jax.errors import UserError
from tests.training.fakes import fake_batches

MESH = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))


def mesh_error(data: int, fsdp: int, devices: int, processes: int = 1) -> str:
    fakes = [SimpleNamespace(id=i, process_index=i * processes // devices) for i in range(devices)]
    with pytest.raises(UserError) as error:
        sharding.make_mesh(ConfigDict({"data": data, "fsdp": fsdp}), fakes)
    return str(error.value)


def test_a_mesh_that_does_not_fit_the_devices_is_one_line():
    available = jax.device_count()
    with pytest.raises(UserError, match=rf"mesh.data=4096, but there are {available} devices"):
        sharding.make_mesh(ConfigDict({"data": 4096, "fsdp": 1}))
    assert "mesh.fsdp=3 does not divide the 8 devices; use one of 1, 2, 4, 8" in mesh_error(-1, 3, devices=8)
    assert "mesh.data=4 and mesh.fsdp=4, but there are 8 devices" in mesh_error(4, 4, devices=8)
    assert "mesh.fsdp=0" in mesh_error(-1, 0, devices=8)
    assert "leaves devices idle" in mesh_error(2, 2, devices=8, processes=2)


def test_a_batch_that_does_not_split_names_the_divisors():
    mesh = jax.sharding.AbstractMesh((2, 2), ("data", "fsdp"))
    sharding.check_batch_size(8, mesh)
    with pytest.raises(
        UserError, match="batch_size=6 does not split over 4 devices; set mesh.data to one of 1, 2, 3, 6"
    ):
        sharding.check_batch_size(6, mesh)


def test_a_batch_keeps_values_and_packing_and_is_split_over_both_axes():
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}))
    batch = next(fake_batches()(0))
    placed = sharding.put_batch(batch, mesh)
    assert placed.budget == batch.budget
    assert placed.image.sharding.spec == PartitionSpec(("data", "fsdp"))
    jax.tree.map(np.testing.assert_array_equal, batch, placed)


@pytest.mark.parametrize(
    ("shape", "split_axis"),
    [
        ((64, 32), 0),
        ((32, 64), 1),
        ((64, 64), 1),  # the last of equals
        ((66, 32), 1),  # 66 does not split over four
        ((3, 3, 256, 128), 2),
        ((33, 65), None),
        ((4096,), None),  # the optimizer joins vectors
        ((512,), None),  # too small for a message
        ((), None),
    ],
)
def test_the_largest_dimension_that_splits_is_split(shape, split_axis):
    spec = sharding.split_array(shape, MESH).spec
    assert spec == (PartitionSpec() if split_axis is None else PartitionSpec(*(None,) * split_axis, "fsdp"))


def test_nothing_is_split_over_one_device():
    mesh = jax.sharding.AbstractMesh((8, 1), ("data", "fsdp"))
    assert sharding.split_array((64, 64), mesh).spec == PartitionSpec()


@pytest.mark.parametrize(
    ("rule", "split"), [("replicated", ""), ("zero1", "optimizer"), ("fsdp", "optimizer parameters")]
)
def test_a_rule_splits_what_it_names_and_nothing_else(rule, split):
    tree = {"kernel": np.zeros((64, 64))}
    for kind in ("optimizer", "parameters", "rest"):
        [place] = jax.tree.leaves(sharding.shardings(tree, kind, rule, MESH))
        assert (place.spec != PartitionSpec()) == (kind in split.split())
