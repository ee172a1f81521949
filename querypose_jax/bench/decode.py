"""From maps to people, for a few and for many of them, beside the peer's grouping.

    python -m querypose_jax.bench decode --config=configs/simplepose/coco_hourglass104.py --canvas=640x640

Maps of one picture are made of drawn people, the network is not run. Ours is one program of fixed shape on the device;
the peer groups lists on the host.
"""

import dataclasses
import functools
from collections.abc import Callable
from importlib import import_module
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
from querypose_jax.models.registry import build_model
from querypose_jax.skeletons import Skeleton, get_skeleton
from querypose_jax.structures import Batch

PEOPLE = (1, 10, 50)
PERSON = 0.16  # side of a person relative to the picture's, so that fifty overlap but can be told apart


def run(config: ConfigDict, options: Options) -> str:
    """Times both on maps of each number of people; returns the table."""
    if config.model.name != "simplepose":
        raise UserError(
            f"bench decode: model.name={config.model.name} groups no joints, its decoding is a part of `inference`; "
            "say --config=configs/simplepose/coco_hourglass104.py"
        )
    skeleton = get_skeleton(config.data.skeleton)
    missing, about = about_peer(config)
    peer = None if missing else load_peer(config, peer_weights(config))
    ours = jax.jit(functools.partial(of_family(config, "decode").decode, skeleton=skeleton, config=config.model.decode))
    rows = []
    for people in PEOPLE:
        batch = people_batch(options.canvas, people, skeleton)
        maps = maps_of(batch, config, skeleton)
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


def peer_weights(config: ConfigDict) -> nnx.State:
    """Of a model of the smallest network: the peer is asked for its decoding only."""
    config.model.backbone.update(depth=1, dims=(8, 8), mods=(1, 1), stem_dim=4, feature_dim=8, stacks=1)
    return nnx.state(build_model(config, rngs=nnx.Rngs(0)))


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


def of_family(config: ConfigDict, part: str) -> Any:
    """A module of the model's family, found by its name as in the registry: benches know no family otherwise."""
    return import_module(f"querypose_jax.models.{config.model.name}.{part}")


def maps_of(batch: Batch, config: ConfigDict, skeleton: Skeleton) -> Any:
    """What the network should say: the family's `Maps`."""
    targets = of_family(config, "targets").make_targets(batch, skeleton, config.model.targets, jnp.dtype("float32"))
    return of_family(config, "outputs").Maps(targets.heatmaps, targets.offsets)


def channels_first(maps: Any) -> list[np.ndarray]:
    """Heatmaps [B, K, h, w] and offsets [B, 2E, h, w]."""
    offsets = np.asarray(maps.offsets)
    flat = offsets.reshape(*offsets.shape[:3], -1)
    return [np.moveaxis(np.asarray(maps.heatmaps), -1, 1).copy(), np.moveaxis(flat, -1, 1).copy()]
