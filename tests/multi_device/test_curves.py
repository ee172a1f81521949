"""One device, eight, 2 x 4 and two processes of four: the same losses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.multi_device.together import FAST

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
ONE, *MANY = ("1x1:replicated", "8x1:replicated", "2x4:zero1", "2x4:fsdp")


def run(path: Path, dtype: str, meshes: list[str], processes: int) -> dict[str, tuple[np.ndarray, str]]:
    """{mesh: (losses, program)} of tests/multi_device/curve.py on eight devices."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(8 // processes), "XLA_FLAGS": FAST, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.multi_device.curve", str(path), dtype, *meshes]
    places = [[f"@{port}:{i}:{processes}"] if processes > 1 else [] for i in range(processes)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    started = [subprocess.Popen([*command, *place], cwd=ROOT, env=environment, **quiet) for place in places]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    return {name: (np.array(losses), text) for name, (losses, text) in json.loads(path.read_text()).items()}


@pytest.fixture(scope="module", params=["float64", "float32"])
def curves(request, tmp_path_factory):
    """In float32, where little can be told apart from rounding, two meshes are enough."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "float32":
        return "float32", run(folder / "one.json", "float32", [ONE, "2x4:fsdp"], processes=1)
    found = run(folder / "one.json", "float64", [ONE, *MANY], processes=1)
    two = run(folder / "two.json", "float64", ["2x4:fsdp"], processes=2)
    return "float64", found | {"two processes": two["2x4:fsdp"]}


def test_losses_are_those_of_one_device(curves):
    dtype, found = curves
    expected = found[ONE][0]
    assert found.keys() == ({ONE, *MANY, "two processes"} if dtype == "float64" else {ONE, "2x4:fsdp"})
    for name in found.keys() - {ONE}:
        losses = found[name][0]
        assert len(losses) == 20
        assert losses[-1] < losses[0], name
        if dtype == "float64":
            np.testing.assert_allclose(losses, expected, rtol=1e-6, err_msg=name)
        else:  # rounding that training amplifies
            np.testing.assert_allclose(losses[0], expected[0], rtol=1e-5)
            np.testing.assert_allclose(losses[:3], expected[:3], rtol=5e-3)
            np.testing.assert_allclose(losses, expected, rtol=8e-2)


def test_no_feature_is_gathered(curves):
    for name in curves[1].keys() & set(MANY):
        _, program = curves[1][name]
        gathered = [line for line in program.splitlines() if " all-gather(" in line]
        if name == "8x1:replicated":
            assert gathered == []
        else:
            assert gathered, name  # parameters
            assert not any("callback" in line or "roi" in line for line in gathered), name
