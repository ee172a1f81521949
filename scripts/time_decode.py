"""Processor time from maps to people against the number of people, beside the PyTorch peer's where there is one.

    python scripts/time_decode.py [--people=1,10,50] [--rounds=7] [--side=640]

Maps of one picture are made of drawn people; ours is one program of fixed shape, the peer groups lists on the host.
"""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the script runs in a clone

from configs.simplepose import defaults  # noqa: E402
from querypose_jax.bench.peers import about_peer, load_peer  # noqa: E402
from querypose_jax.bench.timing import table, take_turns  # noqa: E402
from querypose_jax.bench.workload import drawn_batch  # noqa: E402
from querypose_jax.devices.process import prepare_process  # noqa: E402
from querypose_jax.models.registry import build_model  # noqa: E402
from querypose_jax.models.simplepose.decode import decode  # noqa: E402
from querypose_jax.models.simplepose.outputs import Maps  # noqa: E402
from querypose_jax.models.simplepose.targets import make_targets  # noqa: E402
from querypose_jax.skeletons import COCO  # noqa: E402
from querypose_jax.structures import Batch  # noqa: E402

PERSON = 0.16  # side of a person relative to the picture's, so that fifty overlap but can be told apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", default="1,10,50")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=640)
    options = parser.parse_args()
    prepare_process()
    config = small_config()
    missing, _ = about_peer(config)
    peer = None if missing else load_peer(config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    ours = jax.jit(functools.partial(decode, skeleton=COCO, config=config.model.decode))
    rows = []
    for count in map(int, options.people.split(",")):
        batch = people_batch(options.side, count)
        maps = maps_of(batch, config)
        candidates = {"ours": lambda m=maps, b=batch: jax.block_until_ready(ours(m, b))}
        found = str(int(ours(maps, batch).valid.sum()))
        if peer:
            given = [peer.tensor(x) for x in channels_first(maps)]
            candidates["peer"] = lambda g=given: peer.decode(*g)
            found = f"{found}, {len(peer.decode(*given)[0])}"
        times = take_turns(candidates, options.rounds)
        cells = [f"{1000 * np.median(times[name].cpu):.1f}" for name in times]
        ratio = [f"{np.median(times['ours'].cpu / times['peer'].cpu):.2f}"] if peer else []
        rows.append([str(count), found, *cells, *ratio])
    print(table(["people", "found", "ours ms", *(["peer ms", "of peer"] if peer else [])], rows))
    if missing:
        print(f"No peer: {missing}.")


def small_config() -> ConfigDict:
    """The released decoding; the network is not run."""
    config = defaults.get_config()
    config.model.backbone.update(depth=1, dims=(8, 8), mods=(1, 1), stem_dim=4, feature_dim=8, stacks=1)
    return config


def people_batch(side: int, people: int) -> Batch:
    """People of one size on a grid over a square picture, their joints anywhere in their cell.

    Not on whole pixels: peaks of equal height tie there, and which 32 of 50 are candidates is then each library's own
    choice (ours found 98 people, the peer 83).
    """
    batch = drawn_batch((side, side), 1, people, COCO.num_keypoints)
    rng, columns = np.random.default_rng(0), int(np.ceil(np.sqrt(people)))
    corner = np.stack([np.arange(people) % columns, np.arange(people) // columns], -1) * (0.95 * side / columns)
    size = min(PERSON, 0.95 / columns) * side
    xy = corner[:, None] + 4 + rng.uniform(0, size, (people, COCO.num_keypoints, 2))
    keypoints = np.concatenate([xy, np.full((*xy.shape[:2], 1), 2.0)], -1)[None].astype(np.float32)
    scale = np.full((1, people), size, np.float32)
    return jax.tree.map(jnp.asarray, dataclasses.replace(batch, keypoints=keypoints, person_scale=scale))


def maps_of(batch: Batch, config: ConfigDict) -> Maps:
    """What the network should say."""
    targets = make_targets(batch, COCO, config.model.targets, jnp.dtype("float32"))
    return Maps(targets.heatmaps, targets.offsets)


def channels_first(maps: Maps) -> list[np.ndarray]:
    """Heatmaps [B, K, h, w] and offsets [B, 2E, h, w]."""
    offsets = np.asarray(maps.offsets)
    flat = offsets.reshape(*offsets.shape[:3], -1)
    return [np.moveaxis(np.asarray(maps.heatmaps), -1, 1).copy(), np.moveaxis(flat, -1, 1).copy()]


if __name__ == "__main__":
    main()
