"""Every family trains on eight devices as on one; a bad step, an empty batch and a move to fewer devices included."""

import json

import pytest

from tests import tiny_family
from tests.multi_device.families import BAD, MANY, ONE
from tests.multi_device.together import FAST, run_together

ROUNDING = 1e-8  # relative, of five steps in float64


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny_family.FAMILIES)
def test_a_family_is_the_same_on_eight_devices_split_or_not_and_moved_to_fewer(family, tmp_path):
    command = ["-m", "tests.multi_device.families", family, str(tmp_path)]
    found = json.loads(run_together(lambda port, process: command, 1, 8, FAST).splitlines()[-1])
    assert found.keys() == {ONE, *MANY, "8 -> 4 -> 1"}
    assert found[ONE]["split"] == found["8x1:replicated"]["split"] == 0
    assert 0 < found["2x4:zero1"]["split"] < found["2x4:fsdp"]["split"]
    for name, run in found.items():
        assert run["skipped"] == [BAD], name
        assert run["changed_by_bad_step"] == [], name
        assert run["losses_differ_by"] < ROUNDING, name
        assert run["arrays_differ_by"] < ROUNDING, (name, run["most"])
    assert found["8 -> 4 -> 1"]["lost_in_checkpoints"] == []
