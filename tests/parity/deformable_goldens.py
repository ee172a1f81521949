"""What the goldens of the deformable models (Group Pose, ED-Pose) share: generated maps, pictures and people."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from querypose_jax.layers.layouts import NameMap
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden


def filled(build: Callable[[], nnx.Module], names: NameMap, golden: Golden, dtype: str) -> nnx.Module:
    """The module with the golden's generated weights."""
    return goldens.fill(nnx.eval_shape(build), names, golden.meta["weights_tag"], dtype)


def maps(golden: Golden, channels: list[int], dtype: str) -> list:
    """The golden's generated maps of a backbone, NHWC; level l has the stride 2^l."""
    height, width = golden["padded_size"].tolist()
    pictures, prefix = len(golden["image_sizes"]), golden.meta["features"]
    found = []
    for level, count in zip(golden.meta["levels"], channels, strict=True):
        shape = (pictures, count, -(-height // 2**level), -(-width // 2**level))
        features = goldens.weights().feature(f"{prefix}:c{level}", shape)
        found.append(jnp.asarray(features.transpose(0, 2, 3, 1).astype(dtype)))
    return found


def batch(golden: Golden, dtype: str) -> Batch:
    """The golden's pictures (sizes only, but for the canvas) and people, in pixels of the canvas."""
    sizes = golden["image_sizes"].astype(np.int32)
    output = golden.get("output_sizes", sizes)
    wh = sizes[:, ::-1].astype(np.float64)
    keypoints = golden.get("gt_keypoints", np.zeros((len(sizes), 0, golden.meta["joints"], 3))).astype(np.float64)
    boxes = golden.get("gt_boxes", np.zeros((len(sizes), keypoints.shape[1], 4))).astype(np.float64)
    people = golden.get("gt_count", np.zeros(len(sizes), int))
    keypoints[..., :2] *= wh[:, None, None]
    corners = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    corners *= np.concatenate([wh, wh], -1)[:, None]
    made = goldens.people_batch(sizes, output, people, corners, keypoints, dtype)
    area = np.zeros(made.area.shape)
    area[:, : keypoints.shape[1]] = golden.get("gt_area", np.zeros(keypoints.shape[:2])) * wh.prod(-1)[:, None]
    canvas = np.zeros((len(sizes), *golden["padded_size"].tolist(), 3), np.uint8)
    return jax.tree.map(jnp.asarray, dataclasses.replace(made, image=canvas, area=area.astype(dtype)))
