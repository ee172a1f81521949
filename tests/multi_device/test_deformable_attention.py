"""Deformable attention on two devices: each samples its own pictures and asks the other for nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from ml_collections import ConfigDict
from kernels.deformable_attention import deformable_attention
from querypose_jax.devices import sharding

rng = np.random.default_rng(0)
shapes = ((6, 5), (3, 3))
arrays = [rng.random(shape, np.float32) for shape in ((2, 39, 2, 4), (2, 200, 2, 2, 3, 2), (2, 200, 2, 2, 3))]


def gradients(values, locations, weights):
    def total(*x):
        return jnp.square(deformable_attention(x[0], shapes, *x[1:])).sum()

    return jax.grad(total, (0, 1, 2))(values, locations, weights)


alone = jax.jit(gradients)(*arrays)
mesh = sharding.make_mesh(ConfigDict(dict(data=2, fsdp=1)))
with jax.set_mesh(mesh):
    split = sharding.split_batch(mesh)
    program = jax.jit(gradients, in_shardings=split, out_shardings=split).lower(*arrays).compile()
    together = program(*jax.device_put(arrays, split))
text = program.as_text()
assert not [name for name in ("all-gather", "all-to-all", "all-reduce", "collective-permute") if name in text]
for one, two in zip(alone, together):
    assert len(two.sharding.device_set) == 2
    assert np.allclose(one, two, atol=1e-6)
"""


WITH_A_GPU = "import jax; jax.default_backend = lambda: 'gpu'"  # kernels are chosen and split, and CPUs run the rest


@pytest.mark.parametrize("first", ["", pytest.param(WITH_A_GPU, marks=pytest.mark.slow)], ids=["xla", "kernels"])
def test_two_devices_give_the_gradients_of_one_without_talking(first):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", first + PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
