"""Micro-batches add up to their batch on several devices too, parameters split over them or not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_parts_of_a_batch_on_four_devices_give_the_step_of_the_whole(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.multi_device.accumulating", str(tmp_path / "found.npz")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz", allow_pickle=False) as file:
        found = dict(file)
    names = [name.removeprefix("replicated/1/") for name in found if name.startswith("replicated/1/")]
    assert len(names) == 5
    for way in ("replicated/2", "fsdp/1", "fsdp/2"):
        for name in names:
            expected = found[f"replicated/1/{name}"]
            np.testing.assert_allclose(found[f"{way}/{name}"], expected, rtol=1e-5, atol=1e-6, err_msg=f"{way} {name}")
