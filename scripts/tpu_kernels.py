"""What the TPU kernel of deformable attention has to do for pictures of yours, as an estimate: no TPU is needed.

    python scripts/tpu_kernels.py --workdir=RUN [--size=800x1344] PICTURES...

RUN is a trained Group Pose or ED-Pose with four levels and points, of any width: its layers say which blocks of cells
the tiles of queries read at full size, and so how many the kernel skips. libtpu (`pip install libtpu`) compiles the
kernel of the published width, 8 heads of 32 channels, and its instructions are counted. A row is one layer on one
picture:

* vector: bundles of instructions (each takes a cycle at least) of all blocks that are visited, at the chip's clock;
* products: their floating-point operations at the chip's published speed;
* memory: every operand and result once, at the chip's published bandwidth;
* gather: what gathering rows of samples takes, 4 ns for each of up to 512 bytes as measured elsewhere on newer chips;
  the backward pass scatters as many, and gathers them again.

The kernel takes at least the largest of the first three. Waiting for results, and laying out operands before and
after, come on top and are not in it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the script runs in a clone

from kernels.deformable_attention import deformable_attention  # noqa: E402
from kernels.deformable_attention.blocks import Layout, query_order, to_tiles, windows  # noqa: E402
from kernels.deformable_attention.tpu import cells_of, deformable_attention_tpu  # noqa: E402
from querypose_jax.bench.inference import predict_of  # noqa: E402
from querypose_jax.bench.timing import table  # noqa: E402
from querypose_jax.devices.process import prepare_process  # noqa: E402
from querypose_jax.errors import UserError  # noqa: E402
from querypose_jax.inference.batching import inference_batch  # noqa: E402
from querypose_jax.inference.predictor import Predictor  # noqa: E402
from querypose_jax.models.deformable import attention  # noqa: E402
from querypose_jax.pictures import read_picture  # noqa: E402
from querypose_jax.planning.plan import topology_devices  # noqa: E402

HEADS, DIM, POINTS, LEVELS = 8, 32, 4, 4  # as published
GATHER_NS = 4.0  # a row of up to 512 bytes
TYPES = ("bfloat16", "float32")
PRODUCTS = {  # of bfloat16 in a block: three where one side is float32, which has three parts, six where both are
    ("bfloat16", "forward"): 3,
    ("bfloat16", "backward"): 3 + 1,
    ("float32", "forward"): 6,
    ("float32", "backward"): 6 + 6,
}


class Chip(NamedTuple):
    """Published figures, and the clock at which they add up."""

    gigahertz: float
    teraflops: float
    """Of bfloat16 products."""
    gigabytes: float
    """A second."""


CHIPS = {"v5e": Chip(1.5, 197, 819), "v6e": Chip(1.75, 918, 1640)}


class Layer(NamedTuple):
    """A layer's queries on one picture, and how much of the maps they read."""

    queries: int
    tiles: int
    visited: np.ndarray
    """Blocks of each level in a tile's window, mean over tiles and heads."""
    share: float
    """Of all blocks, those in a tile's window."""


class Bundles(NamedTuple):
    """Instruction bundles of a kernel."""

    block: float
    tile: float


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    if argv[:1] == ["--compile"]:  # this script's own process, see `count_bundles`
        compile_kernels(*argv[1:4])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="a run of Group Pose or ED-Pose")
    parser.add_argument("--size", default="800x1344", help="height x width of the canvas")
    parser.add_argument("pictures", nargs="+")
    options = parser.parse_args(argv)
    canvas = tuple(int(side) for side in options.size.split("x"))
    try:
        predictor = Predictor.from_checkpoint(options.workdir, dtype="float32")
        predictor.config.data.update(eval_short_side=min(canvas), longest_side=max(canvas))
        found = [layers_of(predictor, read_picture(path), canvas) for path in options.pictures]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    layers = [mean_layer(same) for same in zip(*found, strict=True)]
    print(visits_table(layers), end="\n\n")
    shapes = [(-(-canvas[0] // stride), -(-canvas[1] // stride)) for stride in (8, 16, 32, 64)]
    rows = [
        row
        for chip in CHIPS
        for dtype in TYPES
        for forward, backward in [count_bundles(chip, dtype, shapes)]
        for row in estimates(chip, dtype, forward, backward, layers, shapes)
    ]
    head = ["chip", "type", "layer", "pass", "bundles a block", "vector ms", "products ms", "memory ms", "gather ms"]
    print(table(head, rows))
    return 0


def layers_of(predictor: Predictor, picture: Image.Image, canvas: tuple[int, int]) -> list[Layer]:
    """Every layer of deformable attention, in the order in which the model applies them.

    Raises:
        UserError: the model has none, or not four levels and points.
    """
    kept: list[jax.Array] = []
    sizes: list[tuple[int, int, int]] = []

    def watched(values, shapes, locations, weights):
        layout = Layout(tuple(shapes))
        if locations.shape[3:5] != (LEVELS, POINTS):
            levels, points = locations.shape[3:5]
            raise UserError(f"{levels} levels and {points} points: this is about {LEVELS} and {POINTS}")
        kept.append(visits(locations, layout))
        tiles = to_tiles(locations, query_order(locations, layout), layout).shape[1]
        sizes.append((locations.shape[1], tiles, layout.blocks))
        return deformable_attention(values, shapes, locations, weights)

    joints = predictor.skeleton.num_keypoints
    batch = inference_batch([picture], canvas, predictor.recipe, predictor.config.data, joints, 1)
    graphdef, state = nnx.split(predictor.model)
    way: Any = lambda model, batch: (model.predict(batch), list(kept))
    with patch.object(attention, "deformable_attention", watched):  # layers show no locations: results of the program
        _, counts = jax.device_get(jax.jit(predict_of(graphdef, way))(state, batch))
    if not counts:
        raise UserError("the model has no deformable attention; take a run of Group Pose or ED-Pose")
    return [
        Layer(queries, tiles, seen, float(seen.sum() / blocks))
        for (queries, tiles, blocks), seen in zip(sizes, counts, strict=True)
    ]


def visits(locations: jax.Array, layout: Layout) -> jax.Array:
    """Blocks of each level in the windows of a tile, mean over tiles and heads."""
    positions = locations * cells_of(layout, locations.dtype) - 0.5
    tiles = to_tiles(positions, query_order(locations, layout), layout, -9.0)
    top, bottom, left, right = jnp.moveaxis(windows(tiles, layout), -1, 0)
    return ((bottom - top) * (right - left)).mean((0, 1, 2), dtype=jnp.float32)


def mean_layer(same: tuple[Layer, ...]) -> Layer:
    """One layer over pictures."""
    visited = np.mean([layer.visited for layer in same], 0)
    return Layer(same[0].queries, same[0].tiles, visited, float(np.mean([layer.share for layer in same])))


def visits_table(layers: list[Layer]) -> str:
    """What the tiles of each layer read."""
    rows = [
        [str(number), str(layer.queries), str(layer.tiles), *(f"{x:.1f}" for x in layer.visited), f"{layer.share:.1%}"]
        for number, layer in enumerate(layers, 1)
    ]
    return table(["layer", "queries", "tiles", *(f"level {i}" for i in range(1, LEVELS + 1)), "of all blocks"], rows)


def count_bundles(chip: str, dtype: str, shapes: list[tuple[int, int]]) -> tuple[Bundles, Bundles]:
    """Of the kernels forward and backward, as the compiler schedules them."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = "--xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=.*final_bundles.*"
        environment = os.environ | {"LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} {wanted}"}
        command = [sys.executable, __file__, "--compile", chip, dtype, repr(shapes)]
        subprocess.run(command, check=True, env=environment)
        (forward,) = Path(folder).glob("*jvp_deformable_attention_.*01-final_bundles.txt")
        (backward,) = Path(folder).glob("*deformable_attention_backward*01-final_bundles.txt")
        return bundles(forward.read_text()), bundles(backward.read_text())


def bundles(schedule: str) -> Bundles:
    """From the compiler's listing, where a '>' stands for every loop around an instruction: the grid, the tiles of a
    program, rows of blocks, blocks. Each level has its own two inner loops."""
    depths = [len(found) for found in re.findall(r"^ *0x[0-9a-f]+ .{2,4}: (>*) \{", schedule, re.MULTILINE)]
    return Bundles(depths.count(4) / LEVELS, depths.count(2) + depths.count(3))


def compile_kernels(chip: str, dtype: str, shapes: str) -> None:
    """Compiles both kernels for one chip; the compiler writes its listings."""
    sizes = tuple((int(h), int(w)) for h, w in re.findall(r"\((\d+), (\d+)\)", shapes))
    place = jax.sharding.SingleDeviceSharding(topology_devices(f"{chip}:2x2")[0])
    tokens = sum(height * width for height, width in sizes)
    samples = (1, tokens, HEADS, LEVELS, POINTS)
    given = (((1, tokens, HEADS, DIM), dtype), ((*samples, 2), "float32"), (samples, "float32"))
    operands = [jax.ShapeDtypeStruct(shape, jnp.dtype(kind), sharding=place) for shape, kind in given]

    def both(*operands):
        out, pull = jax.vjp(lambda *x: deformable_attention_tpu(*x, shapes=sizes), *operands)
        return out, pull(out)

    jax.jit(both).lower(*operands).compile()


def estimates(
    chip: str, dtype: str, forward: Bundles, backward: Bundles, layers: list[Layer], shapes: list[tuple[int, int]]
) -> list[list[str]]:
    """Rows of the encoder's and the decoder's layers, forward and backward: means over the layers of a kind."""
    tokens = sum(height * width for height, width in shapes)
    kinds = {
        "encoder": [layer for layer in layers if layer.queries == tokens],
        "decoder": [layer for layer in layers if layer.queries != tokens],
    }
    rows = []
    for kind, some in kinds.items():
        for way, counted in (("forward", forward), ("backward", backward)):
            spent = np.mean([milliseconds(chip, dtype, way, counted, layer, tokens) for layer in some], 0)
            rows.append([chip, dtype, kind, way, f"{counted.block:.0f}", *(f"{x:.2f}" for x in spent)])
    return rows


def milliseconds(
    chip: str, dtype: str, way: str, counted: Bundles, layer: Layer, tokens: int
) -> tuple[float, float, float, float]:
    """Vector, products, memory, gather of one layer on one picture."""
    speed, layout = CHIPS[chip], Layout(())
    tiles = layer.tiles * HEADS
    blocks = tiles * float(layer.visited.sum())
    cycles = blocks * counted.block + tiles * counted.tile
    products = blocks * PRODUCTS[dtype, way] * 2 * DIM * layout.cells * layout.tile
    size = jnp.dtype(dtype).itemsize
    values, sums = tokens * HEADS * DIM * size, layer.queries * HEADS * DIM * size
    samples = layer.queries * HEADS * LEVELS * POINTS
    moved = values + sums + 12 * samples  # places and weights are float32
    if way == "backward":
        moved += tokens * HEADS * DIM * 4 + 12 * samples
    rows = 4 * samples * (1 if way == "forward" else 2)
    return (
        cycles / speed.gigahertz / 1e6,
        products / speed.teraflops / 1e9,
        moved / speed.gigabytes / 1e6,
        rows * GATHER_NS / 1e6,
    )


if __name__ == "__main__":
    prepare_process()
    sys.exit(main(sys.argv[1:]))
