"""What the goldens of the deformable models (Group Pose, ED-Pose) share: generated maps, pictures and people."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.backbones.backbone import normalise
from querypose_jax.layers.layouts import NameMap
from querypose_jax.recipes.canvas import place_on_canvas
from querypose_jax.skeletons import SKELETONS
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden

SWINS = {"swin_T_224_1k": ("T", 7), "swin_B_384_22k": ("B", 12), "swin_L_384_22k": ("L", 12)}

# Programs that run once: half the time to compile, the same numbers.
compiled_once = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


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


class MapsGiven(nnx.Module):
    """Stands for a backbone whose maps a golden generates."""

    def __init__(self, channels: dict[int, int]):
        self.channels = channels


def with_maps_given(build: Callable[[], nnx.Module], config: ConfigDict, channels: list[int]) -> nnx.Module:
    """A model whose projection reads maps of these channels, or, where there are none, those of its backbone."""
    if not channels:
        return build()
    with pytest.MonkeyPatch.context() as patch:
        stand_in = MapsGiven(dict(zip(config.model.backbone.stages, channels, strict=True)))
        patch.setattr("querypose_jax.models.deformable.model.build_trunk", lambda *args, **kwargs: stand_in)
        return build()


def skeleton_of(joints: int) -> str | dict:
    """A skeleton with so many joints: a data set's, whose sigmas the losses have, or one without a name."""
    known = [name for name in ("coco", "crowdpose") if SKELETONS[name].num_keypoints == joints]
    return known[0] if known else dict(names=[f"joint_{j}" for j in range(joints)])


def backbone_keys(name: str, stages: list[int]) -> dict:
    """config.model.backbone of a golden's backbone; "" is none."""
    keys = dict(stages=tuple(stages))
    if name in SWINS:
        size, window = SWINS[name]
        return keys | dict(name="swin", size=size, window=window)
    if name:
        return keys | dict(name="resnet", depth=int(name.removeprefix("resnet")))
    return keys


def network(model: nnx.Module):
    """(state, program): maps and batch -> memory, outputs, poses."""
    graphdef, state = nnx.split(model)

    @compiled_once
    def run(state, maps, batch):
        model = nnx.merge(graphdef, state)
        tokens, memory = model.encode(maps, batch)
        outputs = model.decode_queries(tokens, memory)
        return memory, outputs, model.decode(outputs, batch)

    return state, run


def inputs(golden: Golden, model: nnx.Module, made: Batch, channels: list[int], dtype: str):
    """The maps a golden generates, or those of its pixels, and the batch with these."""
    if golden.meta.get("input", "features") == "features":
        return maps(golden, channels, dtype), made
    made = with_pixels(golden, made)
    graphdef, state = nnx.split(model.backbone)
    run = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images, False))
    found = run(state, normalise(made, jnp.dtype(dtype)))
    return [found[stage] for stage in golden.meta["config"]["stages"]], made


def with_pixels(golden: Golden, made: Batch) -> Batch:
    """The batch with the golden's pictures on its canvas."""
    pictures = [golden[key] for key in sorted(golden.names("rgb"), key=lambda key: int(key[3:]))]
    canvas = golden["padded_size"].tolist()
    return dataclasses.replace(made, image=jnp.stack([place_on_canvas(picture, *canvas) for picture in pictures]))


def without_backbone(model: nnx.Module) -> nnx.Module:
    """So that its weights are not carried into the program of what comes after."""
    del model.backbone
    return model


def check_tokens(token, expected):
    """Equal but where one of several equal rejected tokens was taken (-1)."""
    assert np.array_equal(np.where(expected < 0, -1, token), expected)
