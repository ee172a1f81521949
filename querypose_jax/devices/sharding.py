"""The one place that decides where arrays live.

The devices form a mesh of two axes, `data` x `fsdp`. Pictures are split over both. RULES says what else is split, over
`fsdp` only; what a rule does not name is on every device.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.structures import Batch

AXES = ("data", "fsdp")
RULES: dict[str, tuple[str, ...]] = {
    "replicated": (),
    "zero1": ("optimizer",),  # each device updates its part of the parameters, then all get all (Rajbhandari 2020)
    "fsdp": ("optimizer", "parameters"),  # parameters are gathered for the forward and again for the backward pass
}
SMALLEST_SPLIT = 1024  # numbers; smaller arrays are not worth a message
# What costs nothing to repeat, and turns gathered parameters into the form in which they would be kept.
FREE = ("sharding_constraint", "convert_element_type", "reshape", "transpose", "squeeze", "broadcast_in_dim")


def make_mesh(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of config.data x config.fsdp devices; data=-1 takes all that fsdp leaves.

    Devices are in the order of their processes: each process then owns one block of consecutive pictures of a batch,
    which is what the input pipeline reads for it, and `fsdp` stays inside a host where it can.
    jax.make_mesh orders by physical neighbourhood and cuts such blocks in pieces.

    Args:
        config: the group mesh of a configuration.
        devices: default: all of all processes.

    Raises:
        UserError: the numbers do not fit the devices.
    """
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    available, fsdp = len(devices), config.fsdp
    if config.data == -1 and (fsdp < 1 or available % fsdp):
        raise UserError(f"mesh.fsdp={fsdp} does not divide the {available} devices; use one of {divisors(available)}")
    data = available // fsdp if config.data == -1 else config.data
    if data < 1 or fsdp < 1 or data * fsdp > available:
        product = f" and mesh.fsdp={fsdp}" if fsdp != 1 else ""
        raise UserError(f"mesh.data={data}{product}, but there are {available} devices; use -1 for all of them")
    if data * fsdp < available and len({device.process_index for device in devices}) > 1:
        raise UserError(
            f"mesh.data={data} x mesh.fsdp={fsdp} leaves devices idle, which several processes cannot; use mesh.data=-1"
        )
    return Mesh(np.array(devices[: data * fsdp]).reshape(data, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def shards(mesh: Mesh) -> int:
    """How many parts a batch has: one for each device."""
    return mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The leading dimension is split over all devices: batches and what is computed per picture."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def split_array(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """The largest dimension that splits evenly over `fsdp` (the last of equals) is split; small arrays stay whole, and
    so do vectors, which the optimizer joins."""
    parts = mesh.shape["fsdp"]
    fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not fitting or len(shape) < 2 or np.prod(shape) < SMALLEST_SPLIT:
        return replicated(mesh)
    largest = max(fitting, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*(None,) * largest, "fsdp"))


def shardings(tree: PyTree, kind: str, rule: str, mesh: Mesh) -> PyTree:
    """Where the arrays (or shapes) of a tree live; kind: parameters | optimizer | anything else."""
    split = kind in RULES[rule]
    return jax.tree.map(lambda x: split_array(x.shape, mesh) if split else replicated(mesh), tree)


def constrain(tree: PyTree, kind: str, rule: str, mesh: Mesh) -> PyTree:
    """The same inside a compiled function: XLA lays the arrays out so."""
    return jax.lax.with_sharding_constraint(tree, shardings(tree, kind, rule, mesh))


def gather_parameters(params: PyTree, mesh: Mesh) -> PyTree:
    """Parameters for the use in a forward pass: whole on every device.

    Without this XLA may as well move the features to where a part of the parameters is.
    """
    return jax.lax.with_sharding_constraint(params, replicated(mesh))


def keep_all_but_gathered(primitive: Primitive, *_, **__) -> bool:
    """A policy for jax.checkpoint: gathered parameters are not kept for the backward pass but gathered again."""
    return primitive.name not in FREE


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Every device must get the same number of pictures.

    Raises:
        UserError: naming the device counts that would do.
    """
    devices = mesh.size
    if batch_size % devices:
        raise UserError(
            f"data.batch_size={batch_size} does not split over {devices} devices; "
            f"set mesh.data to one of {divisors(batch_size)}, or the batch size to a multiple of {devices}"
        )


def divisors(number: int) -> str:
    """1, 2, 3, 6 of 6."""
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Puts this process's part of a batch (numpy, leading B / processes) on its devices as part of the global batch."""
    sharding = split_batch(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def put(tree: PyTree, places: PyTree) -> PyTree:
    """Puts arrays, equal in every process, where `places` says; each process sends its own devices what they hold."""

    def one(x: Array, place: NamedSharding) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, place, lambda index: host[index])

    return jax.tree.map(one, tree, places)


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
    """Gathers what is split, so that every device holds all of it: parameters for an evaluation."""
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies a tree, equal in every process, to every device of the mesh."""
    return put(tree, jax.tree.map(lambda _: replicated(mesh), tree))
