"""A checkpoint of eight devices continues on fewer."""

import json
from pathlib import Path

import pytest

from tests.multi_device.together import FAST, run_together


def moved(workdir: Path, mesh: str, devices: int) -> dict:
    """What tests/multi_device/move.py prints."""
    command = ["-m", "tests.multi_device.move", str(workdir), mesh]
    said = json.loads(run_together(lambda port, process: command, 1, devices, FAST).splitlines()[-1])
    assert (said["devices"], said["step"]) == (devices, 4)
    return said


@pytest.mark.slow
def test_what_eight_devices_saved_goes_on_with_the_same_loss_on_four_and_on_one(tmp_path):
    expected = moved(tmp_path, "2x4:fsdp", devices=8)["losses"]
    for mesh, devices in (("2x2:zero1", 4), ("1x1:replicated", 1)):
        found = moved(tmp_path, mesh, devices)["losses"]
        assert found[0] == pytest.approx(expected[0], rel=1e-5), mesh
        assert found[1] == pytest.approx(expected[1], rel=5e-3), mesh  # after an update: its rounding, amplified
    assert expected[1] != pytest.approx(expected[0], rel=1e-3)
