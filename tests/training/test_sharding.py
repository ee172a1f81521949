import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.training import sharding
from tests.training.fakes import fake_batches


def test_more_devices_than_there_are_is_one_line():
    with pytest.raises(UserError, match=rf"mesh.data=4096, but there are {jax.device_count()} devices"):
        sharding.make_mesh(ConfigDict({"data": 4096}))


def test_a_batch_that_does_not_split_names_the_divisors():
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    sharding.check_batch_size(8, mesh)
    with pytest.raises(
        UserError, match="batch_size=6 does not split over 4 devices; set mesh.data to one of 1, 2, 3, 6"
    ):
        sharding.check_batch_size(6, mesh)


def test_a_batch_keeps_values_and_packing_and_is_split_along_data():
    mesh = sharding.make_mesh(ConfigDict({"data": 1}))
    batch = next(fake_batches()(0))
    placed = sharding.put_batch(batch, mesh)
    assert placed.packing == batch.packing
    assert placed.image.sharding.spec == PartitionSpec(("data", "fsdp"))
    jax.tree.map(np.testing.assert_array_equal, batch, placed)
