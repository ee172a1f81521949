"""Which pictures drop path leaves out does not depend on where they lie."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import jax, jax.numpy as jnp
from ml_collections import ConfigDict
from querypose_jax.layers.drop_path import drop_path
from querypose_jax.devices import sharding

for devices in (1, 2):
    mesh = sharding.make_mesh(ConfigDict(dict(data=devices, fsdp=1)))
    with jax.set_mesh(mesh):
        split = sharding.split_batch(mesh)
        dropped = jax.jit(lambda x: drop_path(x, 0.5, jax.random.key(3)), in_shardings=split, out_shardings=split)
        out = dropped(jax.device_put(jnp.ones((16, 2)), split))
        assert len(out.sharding.device_set) == devices
        print(out[:, 0].tolist())
"""


def test_one_and_two_devices_drop_the_same_pictures():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.splitlines()
    assert one == two
    assert "0.0" in one and "2.0" in one
