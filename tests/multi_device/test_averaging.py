"""Averages of parameters that are split over devices are those of one device, and live where the parameters do."""

import numpy as np
import pytest

from tests.multi_device.together import run_together


@pytest.mark.slow
def test_averages_on_eight_devices_are_those_of_one(tmp_path):
    path = tmp_path / "averages.npz"
    run_together(lambda port, process: ["-m", "tests.multi_device.averaging", str(path)], 1, 8)
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    names = [name.removeprefix("one/") for name in found if name.startswith("one/") and name != "one/split"]
    averages = [name for name in names if name.startswith("ema.")]
    assert len(averages) == len(names) / 2 == 6
    for name in averages:
        assert (found[f"one/{name}"] != found[f"one/{name.replace('ema.', 'params.')}"]).any()
    for mesh in ("zero1", "fsdp"):
        for name in names:
            one, many = found[f"one/{name}"], found[f"{mesh}/{name}"]
            assert one.dtype == many.dtype == np.float64
            np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-9, err_msg=f"{mesh}: {name}")
    assert found["zero1/split"].tolist() == [0, 0]
    parameters, averages = found["fsdp/split"].tolist()
    assert parameters == averages > 0
