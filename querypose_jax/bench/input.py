"""How fast pictures arrive: the whole pipeline against decoding and resizing the same pictures alone.

    python -m querypose_jax.bench input --config=configs/coco_r50.py --config.data.root=/path/to/coco

The floor is what no pipeline can leave out: decoding the same JPEG bytes as accurately and resizing them to the same
sizes, with the same number of threads, bytes already in memory. The pipeline adds the plan of every step, random
access to the records, laying pictures on their canvas and making the batch.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

from ml_collections import ConfigDict

from input_pipeline.batching import TrainPlan
from input_pipeline.loader import open_split, train_batches
from querypose_jax.bench.options import Options
from querypose_jax.bench.timing import Times, cores, ratio, table, take_turns
from querypose_jax.pictures import read_picture
from querypose_jax.recipes import get_recipe


def run(config: ConfigDict, options: Options, steps: int = 24) -> str:
    """Times `steps` batches of the training split per round; returns the table."""
    split = open_split(config, config.data.train_split)
    plan = TrainPlan(split.annotations, config, 1)
    size = config.data.batch_size
    transform_picture = get_recipe(config.data.recipe).transform_picture
    pool = ThreadPoolExecutor(config.data.workers)
    files = [split.read(row) for row in range(split.annotations.num_pictures)]
    pipeline_turn, floor_turn, decode_turn = itertools.count(), itertools.count(), itertools.count()

    def members(turns: itertools.count) -> list:
        first = next(turns) * steps
        planned = [plan(step) for step in range(first, first + steps)]
        return [(p.samples[0][m], p.samples[1].at(m)) for p in planned for m in p.members]

    def pipeline() -> None:
        first = next(pipeline_turn) * steps
        for _ in train_batches(config, split, start_step=first, stop_step=first + steps, shards=1):
            pass

    def decode_and_resize() -> None:
        list(pool.map(lambda member: transform_picture(read_picture(files[member[0]]), member[1]), members(floor_turn)))

    def decode() -> None:
        list(pool.map(lambda member: read_picture(files[member[0]]), members(decode_turn)))

    times = take_turns({"pipeline": pipeline, "decode + resize": decode_and_resize, "decode": decode}, options.rounds)
    pool.shutdown()
    return report(times, steps * size, config.data.workers)


def report(times: dict[str, Times], pictures: int, workers: int) -> str:
    """The table and what bounds the pipeline."""
    floor = times["decode + resize"]
    rows = [
        [
            name,
            f"{pictures / t.median:.0f}",
            f"{pictures / t.median / cores():.0f}",
            f"{pictures / t.cpu.mean():.0f}",
            f"{1 / ratio(t, floor):.2f}",
        ]
        for name, t in times.items()
    ]
    head = ["what", "pictures/s", "per core", "per CPU second", "ratio to decode + resize"]
    decode, whole = times["decode"].cpu.mean(), times["pipeline"].cpu.mean()
    shares = (decode / whole, (floor.cpu.mean() - decode) / whole, 1 - floor.cpu.mean() / whole)
    names = ("decoding", "resizing, flips and crops", "the rest")
    bounds = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True))
    return f"{table(head, rows)}\n\nCPU time of the pipeline: {bounds}. {cores()} cores, {workers} threads."
