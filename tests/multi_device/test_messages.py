"""What chips send each other, in a program compiled for TPUs."""

import importlib.util
import json

import pytest

from tests.multi_device.together import run_together


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_where_parameters_are_split_chips_send_them_twice_and_gradients_and_nothing_else():
    said = run_together(lambda port, process: ["-m", "tests.multi_device.messages"], processes=1, devices=1)
    found = json.loads(said.splitlines()[-1])
    sent, split, whole = found["sent"], found["split"], found["all"]
    assert split > whole / 2
    assert sent["all-gather"] == pytest.approx(2 * split, rel=0.1)
    gradients = sum(size for kind, size in sent.items() if kind in ("reduce-scatter", "all-reduce"))
    assert gradients == pytest.approx(whole, rel=0.1)
    assert sum(sent.values()) == pytest.approx(2 * split + whole, rel=0.1)
