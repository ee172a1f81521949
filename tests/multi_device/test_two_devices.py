"""Two devices, or eight, compute what one does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
ROUNDING = 1e-5  # what a bias in front of a softmax, whose gradient is zero, moves by in float32


def one_and_several(program: str, folder: Path, devices: int = 2) -> tuple[dict, dict]:
    """What a function of tests/multi_device/programs.py computes on one device and on several."""
    path = folder / "results.npz"
    fast_to_compile = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    flags = f"--xla_force_host_platform_device_count={devices} {fast_to_compile}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.multi_device.programs", program, str(devices), str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(path, allow_pickle=False) as file:
        one, several = ({k[2:]: v for k, v in file.items() if k.startswith(f"{count}/")} for count in (1, devices))
    assert one.keys() == several.keys()
    return one, several


@pytest.fixture(scope="module")
def step(tmp_path_factory) -> tuple[dict, dict]:
    return one_and_several("one_step", tmp_path_factory.mktemp("step"))


@pytest.mark.slow
def test_a_training_step_has_the_same_losses(step):
    one, two = step
    losses = [name for name in one if name.startswith("loss/")]
    assert len(losses) == 1 + 2 * 4  # the total, four terms of two stages
    for name in [*losses, "grad_norm"]:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_training_step_moves_parameters_and_statistics_alike(step):
    one, two = step
    moved = [name for name in one if name.startswith("moved/")]
    assert sum(np.abs(one[name]).max() > 0 for name in moved) > 0.8 * len(moved)
    for name in moved:
        atol = 1e-3 * np.abs(one[name]).max() + ROUNDING
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=atol, err_msg=name)


@pytest.mark.parametrize("solver", [pytest.param("callback", marks=pytest.mark.slow), "device"])
def test_matching_is_the_same_and_gathers_no_costs(solver, tmp_path):
    one, two = one_and_several(f"matching_{solver}", tmp_path)
    np.testing.assert_array_equal(two["query"], one["query"])
    np.testing.assert_array_equal(two["person"], one["person"])
    program = str(two["program"])
    assert ("callback" in program) == (solver == "callback")
    for collective in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert collective not in program
    assert "f32[2,9,5]" in program  # each device holds the costs of its two pictures


@pytest.mark.slow
def test_a_training_step_of_an_edpose_is_the_same_noise_and_denoising_losses_included(tmp_path):
    """Draws are those of the whole batch; denoising losses of groups of pictures do not depend on who holds them: each
    of eight devices has one picture of a group of two."""
    one, eight = one_and_several("edpose_step", tmp_path, devices=8)
    assert sum(name.startswith("loss/dn_") for name in one) == 2 * 3
    assert sum(np.abs(one[name]).max() > 0 for name in one if name.startswith("moved/")) > 50
    for name in one:
        limit = 1e-9 * max(np.abs(one[name]).max(), 1e-3)
        np.testing.assert_allclose(eight[name], one[name], rtol=0, atol=limit, err_msg=name)
