"""Kernels are taken in a process with a GPU, and not in programs that shall run with other versions of jax."""

import jax
import jax.numpy as jnp

from kernels.choice import on_every_device, portable_programs, takes_kernels


def test_kernels_need_a_gpu_and_a_program_that_stays_here(monkeypatch):
    assert not takes_kernels()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert takes_kernels()
    with portable_programs():
        assert not takes_kernels()
    assert takes_kernels()


def test_on_one_device_it_is_a_plain_call(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    text = str(jax.make_jaxpr(lambda x: on_every_device(jnp.sin, x))(jnp.zeros((2, 3))))
    assert "sin" in text
    assert "shard_map" not in text
