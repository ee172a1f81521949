"""The arithmetic of scripts/tpu_kernels.py: instructions counted in a compiler's listing, blocks in windows, times."""

import jax.numpy as jnp
import numpy as np
import pytest

from kernels.deformable_attention.blocks import Layout
from scripts.tpu_kernels import CHIPS, Bundles, Layer, bundles, milliseconds, visits

LISTING = """
LB: loop body
   0x0   :  { %s0 = inlined_call_operand.vmem [shape: s32[1]] }
   0x8 LB: > { %13903 = sst }
window_bounds: (1, 1)
  0x202 LB: >> { %v7108_v2 = vlaneseq.b32 }
  0x210 LB: >>> { %p9793_p5 = scmp.ge.s32.totalorder }
  0x217 LB: >>>> { %s10011_s30 = sshll.u32 }
  0x218   : >>>> { %v1 = vadd.f32 /* >>>> { */ }
  0x219   : >>>> {} /* End region */
  0x298 PF: >>> { %s7114_s5 = sadd.s32 1 }
  0x2a0 PF: >>>> { %v12923_v4 = vld }
"""


def test_bundles_are_counted_by_the_loops_around_them():
    assert bundles(LISTING) == Bundles(block=4 / 4, tile=3)


def test_a_block_is_visited_where_a_sample_of_the_tile_reads_a_cell_of_it():
    """Four queries at the middle of a 4 x 8 map in blocks of 2 x 4 read all four; those on the first cell one."""
    layout = Layout(((4, 8), (2, 4)), rows=2, columns=4, tile=2, tiles=1)
    middle, first = np.full((1, 2, 1, 2, 1, 2), 0.5), np.full((1, 2, 1, 2, 1, 2), 0.01)
    assert visits(jnp.asarray(middle), layout).tolist() == [4, 1]
    assert visits(jnp.asarray(first), layout).tolist() == [1, 1]
    assert visits(jnp.concatenate([jnp.asarray(middle), jnp.asarray(first)], 1), layout).tolist() == [2.5, 1]


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_vector_time_is_bundles_by_the_clock_and_products_are_three_parts_forward_and_four_backward(way):
    layer = Layer(queries=128, tiles=1, visited=np.array([2.0, 1, 1, 1]), share=0.1)
    vector, products, memory, gather = milliseconds("v5e", "bfloat16", way, Bundles(100, 50), layer, tokens=1000)
    assert vector == pytest.approx(8 * (5 * 100 + 50) / CHIPS["v5e"].gigahertz / 1e6)
    parts = {"forward": 3, "backward": 4}[way]
    assert products == pytest.approx(8 * 5 * parts * 2 * 32 * 128 * 128 / CHIPS["v5e"].teraflops / 1e9)
    assert memory > 1000 * 256 * 2 / CHIPS["v5e"].gigabytes / 1e6
    assert gather == pytest.approx(128 * 8 * 16 * 4 * 4e-6 * {"forward": 1, "backward": 2}[way])
