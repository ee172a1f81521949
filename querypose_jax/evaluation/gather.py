"""An evaluation in several processes: each predicts its part of every batch, all see all poses, process 0 scores."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from querypose_jax.errors import UserError
from querypose_jax.structures import Batch, Poses

Found = tuple[Int[Array, " B"], Poses]


def gathering(predict: Callable[[Batch], Poses], mesh: Mesh) -> Callable[[Batch], Found]:
    """`find(placed batch) -> (image_id, poses)` of the whole batch, on every device of every process.

    Shapes are those of the batch, whatever is on it; process 0 owns the first rows.
    """
    everywhere = jax.jit(lambda found: found, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return lambda batch: everywhere((batch.image_id, predict(batch)))


def tell(compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `compute()` gives in process 0, in all processes; a UserError of it is raised in all of them.

    Other processes do not call it.
    """
    if jax.process_count() == 1:
        return compute()
    answer: dict[str, Any] = {}
    if jax.process_index() == 0:
        try:
            answer = {"result": compute()}
        except UserError as error:
            answer = {"error": str(error)}
    answer = _broadcast(answer)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["result"]


def _broadcast(content: Any) -> Any:
    """JSON-able content of process 0."""
    text = np.frombuffer(json.dumps(content).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(length, np.uint8)
    padded[: min(length, len(text))] = text[:length]
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes())
