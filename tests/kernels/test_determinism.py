"""One option of XLA switches the CUDA kernels' gradients too."""

import pytest

from kernels.determinism import wants_determinism


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("", False),
        ("--xla_gpu_deterministic_ops=true", True),
        ("--xla_cpu_enable_fast_math=true --xla_gpu_deterministic_ops", True),
        ("--xla_gpu_deterministic_ops=1", True),
        ("--xla_gpu_deterministic_ops=true --xla_gpu_deterministic_ops=false", False),
        ("--xla_gpu_exclude_nondeterministic_ops=true", True),
        ("--xla_gpu_deterministic_ops=false", False),
    ],
)
def test_it_is_read_from_the_flags_of_xla(monkeypatch, flags, wanted):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert wants_determinism() == wanted
