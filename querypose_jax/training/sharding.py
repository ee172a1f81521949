"""The one place that decides where arrays live: parameters on every device, pictures split along `data`."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.structures import Batch


def make_mesh(config: ConfigDict) -> Mesh:
    """A mesh with the axis `data` over config.data devices (-1 = all).

    Raises:
        UserError: more devices asked for than there are.
    """
    available = jax.device_count()
    count = available if config.data == -1 else config.data
    if not 1 <= count <= available:
        raise UserError(f"mesh.data={config.data}, but there are {available} devices; use -1 for all of them")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: parameters, optimizer state, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The leading dimension is split along `data`: batches and what is computed per picture."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Every device must get the same number of pictures.

    Raises:
        UserError: naming the device counts that would do.
    """
    devices = mesh.shape["data"]
    if batch_size % devices:
        divisors = ", ".join(str(d) for d in range(1, batch_size + 1) if batch_size % d == 0)
        raise UserError(
            f"data.batch_size={batch_size} does not split over {devices} devices; "
            f"set mesh.data to one of {divisors}, or the batch size to a multiple of {devices}"
        )


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Puts this process's part of a batch (numpy, leading B / processes) on its devices as part of the global batch."""
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies a tree to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))
