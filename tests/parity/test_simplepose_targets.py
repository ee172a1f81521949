"""Heatmaps, offsets, scales and the loss mask of SimplePose equal the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.simplepose import defaults
from querypose_jax.models.simplepose.targets import make_targets
from querypose_jax.structures import Batch
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close
from tests.parity.simplepose import COMPILED_SOON, channels_first, nameless_skeleton, offsets_first

HEATMAPS = {"float64": 1e-6, "float32": 1e-5}
PIXELS = {"float64": 1e-4, "float32": 1e-3}


def people_batch(joints: np.ndarray, sigmas: np.ndarray, size: tuple[int, int], dtype: str) -> Batch:
    """A batch of one picture with people [P, K, 4] (x, y, v, scale of the joint) and a slot of padding."""
    people, count = len(joints), joints.shape[1]
    padded = np.zeros((people + 1, count, 4), dtype)
    padded[:people] = joints
    padded[people] = [*np.array(size)[::-1] / 2, 2, 9]  # numbers that must not count
    sizes = np.array([size], np.int32)
    batch = Batch(
        image=np.zeros((1, *size, 3), np.uint8),
        valid_size=sizes,
        orig_size=sizes,
        image_id=np.zeros(1, np.int32),
        inv_affine=np.eye(2, 3, dtype=np.float32)[None],
        boxes=np.zeros((1, people + 1, 4), np.float32),
        keypoints=padded[None, :, :, :3],
        area=np.zeros((1, people + 1), np.float32),
        label=np.zeros((1, people + 1), np.int32),
        is_person=(np.arange(people + 1) < people)[None],
        person_scale=(padded[..., 0, 3] / sigmas[0])[None],
    )
    return jax.tree.map(jnp.asarray, batch)


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.files("sp_targets"))
def test_targets_equal_reference(path, dtype, record_property):
    golden = Golden(path)
    limbs, sigmas = golden.meta["limbs"], golden.meta["sigmas"]
    skeleton = nameless_skeleton(golden.meta["joints"], limbs, sigmas)
    config = defaults.get_config().model.targets
    settings = dict(skeleton=skeleton, config=config, dtype=jnp.dtype(dtype), with_scales=True)
    make = jax.jit(functools.partial(make_targets, **settings), compiler_options=COMPILED_SOON)
    for scene, size in enumerate(golden.meta["sizes"]):
        targets = make(people_batch(golden[f"joints{scene}"], np.array(sigmas), tuple(size), dtype))

        def compare(name, ours, tolerance, scene=scene):
            difference = assert_close(ours[0], golden[f"{name}{scene}"], tolerance, what=f"{name}{scene}")
            record_property(name, difference)

        labelled = np.repeat(channels_first(targets.is_offset), 2, 1)
        assert np.array_equal(labelled[0], golden[f"offset_labelled{scene}"])
        assert np.array_equal(channels_first(targets.is_scale)[0], golden[f"scale_labelled{scene}"])
        compare("heatmaps", channels_first(targets.heatmaps), HEATMAPS[dtype])
        compare("offsets", offsets_first(targets.offsets), PIXELS[dtype])
        compare("person_scale", np.repeat(channels_first(targets.person_scale), 2, 1), PIXELS[dtype])
        compare("scales", channels_first(targets.scales), PIXELS[dtype])
