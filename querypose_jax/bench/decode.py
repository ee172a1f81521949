"""From maps to people, for a few and for many of them, beside the peer's grouping.

    python -m querypose_jax.bench decode --config=configs/simplepose/coco_hourglass104.py --canvas=640x640

Maps of one picture are made of drawn people, the network is not run. Ours is one program of fixed shape on the device;
the peer groups lists on the host.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.bench.options import Options
from querypose_jax.bench.peers import about_peer, load_peer
from querypose_jax.bench.timing import Times, ratio, table, take_turns
from querypose_jax.bench.workload import drawn_batch
from querypose_jax.errors import UserError
from querypose_jax.models.registry import build_model, family_of
from querypose_jax.skeletons import Skeleton, get_skeleton
from querypose_jax.structures import Batch

PEOPLE = (1, 10, 50)
PERSON = 0.16  # side of a person relative to the picture's, so that fifty overlap but can be told apart


def run(config: ConfigDict, options: Options) -> str:
    """Times both on maps of each number of people; returns the table."""
    ideal_outputs = family_of(config).ideal_outputs
    if ideal_outputs is None:
        raise UserError(
            f"bench decode: model.name={config.model.name} groups no joints, its decoding is a part of `inference`; "
            "say --config=configs/simplepose/coco_hourglass104.py"
        )
    skeleton, model = get_skeleton(config.data.skeleton), build_model(config, rngs=nnx.Rngs(0))
    missing, about = about_peer(config)
    peer = None if missing else load_peer(config, nnx.state(model))
    ours = jax.jit(model.decode)
    rows = []
    for people in PEOPLE:
        batch = people_batch(options.canvas, people, skeleton)
        maps = ideal_outputs(config, batch)
        candidates: dict[str, Callable[[], object]] = {
            "ours": lambda m=maps, b=batch: jax.block_until_ready(ours(m, b))
        }
        found = {"ours": int(ours(maps, batch).valid.sum())}
        if peer:
            given = [peer.tensor(x) for x in channels_first(maps)]
            candidates["peer"] = lambda g=given: peer.decode(*g)
            found["peer"] = len(peer.decode(*given)[0])
        rows += as_rows(people, found, take_turns(candidates, options.rounds))
    head = f"{jax.devices()[0].device_kind}, {options.canvas[0]} x {options.canvas[1]}"
    note = f"No peer: {missing}." if missing else f"The peer is {about}."
    return f"{head}\n\n{table(['people', 'what', 'found', 'median ms', 'of peer'], rows)}\n\n{note}"


def as_rows(people: int, found: dict[str, int], times: dict[str, Times]) -> list[list[str]]:
    """A row for each of the two."""
    return [
        [str(people), name, str(found[name]), f"{1e3 * t.median:.1f} +- {1e3 * t.spread:.1f}",
         f"{ratio(t, times['peer']):.2f}" if "peer" in times else ""]
        for name, t in times.items()
    ]  # fmt: skip


def people_batch(canvas: tuple[int, int], people: int, skeleton: Skeleton) -> Batch:
    """People of one size on a grid over a picture, their joints anywhere in their cell.

    Not on whole pixels: peaks of equal height tie there, and which 32 of 50 are candidates is then each library's own
    choice.
    """
    joints, side = skeleton.num_keypoints, min(canvas)
    batch = drawn_batch(canvas, 1, people, joints)
    rng, columns = np.random.default_rng(0), int(np.ceil(np.sqrt(people)))
    corner = np.stack([np.arange(people) % columns, np.arange(people) // columns], -1) * (0.95 * side / columns)
    size = min(PERSON, 0.95 / columns) * side
    xy = corner[:, None] + 4 + rng.uniform(0, size, (people, joints, 2))
    keypoints = np.concatenate([xy, np.full((*xy.shape[:2], 1), 2.0)], -1)[None].astype(np.float32)
    scale = np.full((1, people), size, np.float32)
    return jax.tree.map(jnp.asarray, dataclasses.replace(batch, keypoints=keypoints, person_scale=scale))


def channels_first(maps: Any) -> list[np.ndarray]:
    """Of the first stack, heatmaps [B, K, h, w] and offsets [B, 2E, h, w]."""
    heatmaps, offsets = np.asarray(maps.heatmaps[0]), np.asarray(maps.offsets[0])
    flat = offsets.reshape(*offsets.shape[:3], -1)
    return [np.moveaxis(x, -1, 1).copy() for x in (heatmaps, flat)]
