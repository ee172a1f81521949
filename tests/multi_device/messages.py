"""What a training step of the tiny model sends between eight TPU chips: python -m tests.multi_device.messages.

Compiled ahead of time, parameters split over all chips. Prints bytes by kind, those of the parameters that are split,
and those of all.
"""

import json

import jax
import numpy as np

from querypose_jax.devices import sharding
from querypose_jax.planning import plan
from querypose_jax.planning.programs import describe
from querypose_jax.runs.plan import MAKERS
from tests import tiny_run


def main() -> None:
    # Products of full precision: else what they read is rounded to bfloat16 before it is sent, and bytes say little.
    jax.config.update("jax_default_matmul_precision", "highest")
    config = tiny_run.get_config()
    config.mesh.fsdp = 8
    mesh = plan.plan_mesh(config, plan.topology_devices("v5e:2x4"), "fsdp")
    params = jax.tree.leaves(MAKERS.state(config)[1].params)
    split = [x for x in params if sharding.split_array(x.shape, mesh).shard_shape(x.shape) != x.shape]
    program = describe(plan.compile_train(config, mesh, "fsdp", 1, MAKERS))
    size = lambda arrays: sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in arrays)
    print(json.dumps({"sent": program.collectives, "split": size(split), "all": size(params)}))


if __name__ == "__main__":
    main()
