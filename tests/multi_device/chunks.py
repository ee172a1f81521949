"""Pruning in one of several processes: python -m tests.multi_device.chunks PORT ID COUNT.

Two pictures of 40 queries, ten of which may be run at a time. Of the first one the ten best suffice, of the second one
all must be run. Prints for both pictures how many queries ran and the best scores.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from querypose_jax.devices import distributed, sharding
from querypose_jax.models.querypose.pruning import Pruning, Refined, refine_wanted

QUERIES = 40
PRUNING = Pruning(chunk=10, best=5)
BOX_SCORES = np.stack([np.linspace(1, 0.01, QUERIES), np.linspace(1, 0.9, QUERIES)])
FACTOR = np.stack([np.ones(QUERIES), np.linspace(0.1, 0.9, QUERIES)])  # the better the box, the worse the pose


def main(port: str, process_id: str, count: str) -> None:
    distributed.join(f"localhost:{port}", int(process_id), int(count), heartbeat_s=60)
    mesh = sharding.make_mesh(ConfigDict({"data": -1, "fsdp": 1}))
    split = sharding.split_batch(mesh)
    own = slice(jax.process_index() * 2 // int(count), (jax.process_index() + 1) * 2 // int(count))

    @jax.jit
    def prune(box_scores, factor):
        def refine(chosen):
            inside = jnp.minimum(chosen, QUERIES - 1)
            nothing = jnp.zeros((*chosen.shape, 1, 2))
            return Refined(nothing, nothing, jnp.take_along_axis(box_scores * factor, inside, 1))

        found, has_run = refine_wanted(PRUNING, box_scores, jnp.ones(box_scores.shape, bool), refine)
        return has_run.sum(1), jax.lax.top_k(found.scores, PRUNING.best)[0]

    with jax.set_mesh(mesh):
        placed = (
            jax.make_array_from_process_local_data(split, x[own].astype(np.float32)) for x in (BOX_SCORES, FACTOR)
        )
        everywhere = jax.jit(lambda found: found, out_shardings=sharding.replicated(mesh))
        ran, best = jax.device_get(everywhere(prune(*placed)))
    print(json.dumps({"devices": jax.device_count(), "ran": ran.tolist(), "best": best.tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
