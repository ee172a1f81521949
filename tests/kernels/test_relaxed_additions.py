"""Additions of the CUDA kernels have no order in the program that Triton gets; a jax without the rule is left alone."""

import jax
import jax.numpy as jnp
import pytest
from jax._src.pallas.triton import lowering
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from kernels.relaxed_additions import relax_additions


def add_kernel(x, out) -> None:
    jax.ref.addupdate(out, (jnp.arange(16),), x[...])
    plgpu.atomic_add(out, (jnp.arange(16),), x[...])


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
def test_additions_are_relaxed_and_other_atomics_are_as_pallas_makes_them(monkeypatch):
    modules = []
    original = lowering.lower_jaxpr_to_triton_module

    def spy(*arguments, **parameters):
        result = original(*arguments, **parameters)
        modules.append(result.module.operation.get_asm())
        return result

    monkeypatch.setattr(lowering, "lower_jaxpr_to_triton_module", spy)
    assert relax_additions()
    call = pl.pallas_call(
        add_kernel, out_shape=jax.ShapeDtypeStruct((16,), jnp.float32), compiler_params=plgpu.CompilerParams()
    )
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        jax.jit(call).trace(jax.ShapeDtypeStruct((16,), jnp.float32)).lower(lowering_platforms=("cuda",))
    (module,) = modules
    assert module.count("atomic_rmw fadd, relaxed, gpu") == module.count("atomic_rmw fadd, acq_rel, gpu") == 1


def test_a_jax_without_the_rule_keeps_ordered_additions(monkeypatch):
    monkeypatch.delattr(lowering, "_atomic_rmw")
    assert not relax_additions.__wrapped__()
