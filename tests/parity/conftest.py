"""Precision of the parity tests: each test names its dtype, and float64 is switched on for it alone."""

import jax
import pytest


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"), jax.default_matmul_precision("highest"):
        yield request.param


@pytest.fixture
def record_property(record_property):
    """Numbers as Python's own: those of numpy cannot be sent between processes."""
    return lambda name, value: record_property(name, float(value))
