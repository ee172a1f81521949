"""Kernels are taken in a process with a GPU or TPUs, and not in programs that shall run with other versions of jax."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from kernels.choice import kernel_platform, on_every_device, portable_programs, programs_for


def test_kernels_need_a_gpu_and_a_program_that_stays_here(monkeypatch):
    assert kernel_platform() is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kernel_platform() == "cuda"
    with portable_programs():
        assert kernel_platform() is None
    assert kernel_platform() == "cuda"


@pytest.mark.parametrize(("kind", "platform"), [("TPU v5 lite", "tpu"), ("TPU v6 lite", "tpu"), ("TPU v4", None)])
def test_tpus_with_room_for_kernels_take_them_and_so_do_programs_for_them(monkeypatch, kind, platform):
    with programs_for(kind):
        assert kernel_platform() == platform
        with portable_programs():
            assert kernel_platform() is None
    assert kernel_platform() is None
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind=kind)])
    assert kernel_platform() == platform


def test_on_one_device_it_is_a_plain_call(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    text = str(jax.make_jaxpr(lambda x: on_every_device(jnp.sin, x))(jnp.zeros((2, 3))))
    assert "sin" in text
    assert "shard_map" not in text
