import jax
import jax.numpy as jnp
import pytest

from querypose_jax.planning.programs import (
    TooLarge,
    array_bytes,
    collective_bytes,
    describe,
    describe_refusal,
    group_size,
    recomputed_results,
)

PROGRAM = """
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.7 (input: f32[64,64]) -> f32[8,64] {
  %all-reduce.3 = f32[64,64]{1,0:T(8,128)} all-reduce(%input), channel_id=9, to_apply=%add
}

ENTRY %main (p: f32[8,64]) -> f32[] {
  %all-gather.1 = f32[64,64]{1,0:T(8,128)} all-gather(%p), channel_id=1, dimensions={0}
  %all-gather.2 = f32[64,64]{1,0:T(8,128)S(1)} all-gather(%p), channel_id=1, dimensions={0}
  %all-gather.3 = bf16[64,64]{1,0} all-gather(%q), channel_id=2, dimensions={0}
  %start = (f32[8,64]{1,0}, f32[64,64]{1,0}) all-gather-start(%p), channel_id=3, dimensions={0}
  %done = f32[64,64]{1,0} all-gather-done(%start)
  %all-reduce.4 = (f32[64]{0}, /*index=1*/f32[]) all-reduce(%x, %y), channel_id=4, to_apply=%add
  %reduce-scatter.5 = f32[8,64]{1,0} reduce-scatter(%x), channel_id=5, replica_groups=[1,8]<=[8], dimensions={0}
  %move = (f32[24,12]{0,1}, f32[24,12]{0,1}, u32[], u32[]) collective-permute-start(%x), channel_id=6
}
"""


def test_every_collective_counts_once_with_its_whole_size():
    assert collective_bytes(PROGRAM) == {
        "all-gather": 64 * 64 * 4 + 64 * 64 * 2 + 64 * 64 * 4,  # what is written twice is one
        "all-reduce": 64 * 4 + 4,
        "reduce-scatter": 64 * 64 * 4 + 64 * 64 * 4,  # the TPU compiler's, and one that says so
        "collective-permute": 24 * 12 * 4,
    }


def test_sizes_of_arrays_and_groups():
    assert [array_bytes(*array) for array in (("f32", "8,128"), ("bf16", "3"), ("pred", "5"), ("s32", ""))] == [
        4096, 6, 5, 4,
    ]  # fmt: skip
    assert group_size("all-reduce(%x), replica_groups={{0,1,2,3},{4,5,6,7}}") == 4
    assert group_size("all-reduce(%x)") == 1


def test_a_product_is_described_by_its_operations_and_its_memory():
    x = jnp.ones((64, 64))
    program = describe(jax.jit(lambda a, b: a @ b).lower(x, x).compile())
    assert program.flops >= 2 * 64**3
    assert program.arguments == 2 * 64 * 64 * 4
    assert program.memory >= program.arguments + 64 * 64 * 4
    assert program.collectives == {}


@pytest.mark.parametrize(
    "text",
    [
        "Ran out of memory on HBM, the total memory required for HLO temporaries (21.50G) exceeds available HBM "
        "(15.75G). HLO module: jit_f.",
        "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 21.50G of 15.75G hbm. Exceeded "
        "hbm capacity by 5.75G.",
    ],
)
def test_a_refusal_for_want_of_memory_is_read_and_no_other_error(text):
    error = jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: {text}")
    assert describe_refusal(error) == TooLarge(int(21.5 * 2**30), int(15.75 * 2**30))
    assert describe_refusal(jax.errors.JaxRuntimeError("INTERNAL: something else (1G)")) is None


def test_results_that_are_computed_twice_are_counted():
    """Lines as in a training step of 10 pictures on a chip of 16 GiB: twice one is made, twice it is used."""
    text = """
  %add_add_fusion.3.remat = bf16[10,100,168,512]{3,0,2,1} fusion(%add_add_fusion.4), kind=kOutput
  %fusion.154 = bf16[1,1,512,128]{3,2,1,0} fusion(%fusion.391, %add_add_fusion.3.remat), kind=kOutput
  ROOT %multiply_add_fusion.remat2 = bf16[10,200,336,128]{3,0,2,1} fusion(%add_maximum_fusion), kind=kOutput
  %fusion.146 = bf16[3,3,128,128]{3,2,1,0} fusion(%x), metadata={op_name="jit(step)/rematted.remat = "}
"""
    assert recomputed_results(text) == 2
