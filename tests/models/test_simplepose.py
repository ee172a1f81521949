"""SimplePose as a model: its losses, its people from maps, both views, and what its configuration must satisfy."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import FrozenConfigDict

from configs.simplepose import coco_hourglass104, crowdpose_hourglass104, synthetic_tiny
from querypose_jax.errors import UserError
from querypose_jax.models.base import Wanted
from querypose_jax.models.simplepose.check import check
from querypose_jax.models.simplepose.decode import decode, merge_mirrored
from querypose_jax.models.simplepose.losses import simplepose_loss
from querypose_jax.models.simplepose.model import SimplePose
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.params import official_names, trunk_names
from querypose_jax.models.simplepose.released import hyper_parameters, unapplied
from querypose_jax.models.simplepose.targets import make_targets
from querypose_jax.skeletons import COCO
from querypose_jax.structures import FILLER_ID, Batch
from querypose_jax.weights.sources import translate
from tests.parity.simplepose import COMPILED_SOON

HEIGHT, WIDTH = 128, 192
MANIFEST = Path(__file__).parent.parent / "parity" / "golden" / "sp_manifest_tiny.json"


def small_config():
    config = synthetic_tiny.get_config()
    config.model.backbone.update(depth=1, dims=(8, 8), mods=(1, 1), stem_dim=4, feature_dim=8, stacks=1)
    config.model.decode.people = 16
    return config


def people_batch(people=(2, 0, 3, 1), seed=0) -> Batch:
    """Pictures with people side by side, each 40 pixels wide."""
    generator = np.random.default_rng(seed)
    count, slots, joints = len(people), 4, COCO.num_keypoints
    corner = np.stack([np.arange(slots) * 46 + 6, np.full(slots, 20)], -1)[:, None]
    xy = np.round(corner + generator.uniform(0, 1, (count, slots, joints, 2)) * (34, 80))
    is_person = np.arange(slots) < np.array(people)[:, None]
    keypoints = np.concatenate([xy, np.full((*xy.shape[:3], 1), 2.0)], -1)
    batch = Batch(
        image=generator.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8),
        valid_size=np.tile(np.array([HEIGHT, WIDTH], np.int32), (count, 1)),
        orig_size=np.tile(np.array([HEIGHT, WIDTH], np.int32) * 2, (count, 1)),
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=np.tile(np.array([[2, 0, 0], [0, 2, 0]], np.float32), (count, 1, 1)),
        boxes=np.zeros((count, slots, 4), np.float32),
        keypoints=(keypoints * is_person[..., None, None]).astype(np.float32),
        area=is_person.astype(np.float32),
        label=np.zeros((count, slots), np.int32),
        is_person=is_person,
        loss_mask=generator.random((count, HEIGHT // 4, WIDTH // 4)) < 0.9,
        person_scale=np.where(is_person, 60, 0).astype(np.float32),
    )
    return jax.tree.map(jnp.asarray, batch)


def mirrored(batch: Batch) -> Batch:
    """The people as the mirror shows them."""
    x, y, v = jnp.moveaxis(batch.keypoints, -1, 0)
    keypoints = jnp.stack([WIDTH - 1 - x, y, v], -1)[:, :, jnp.array(COCO.flip_index)]
    return dataclasses.replace(batch, keypoints=keypoints)


def maps_of(batch: Batch, config, stacks: bool = False) -> Maps:
    """Maps that are exactly what the network should say."""
    targets = compiled_targets(batch, FrozenConfigDict(config.model.targets))
    maps = Maps(targets.heatmaps, targets.offsets)
    return jax.tree.map(lambda x: jnp.stack([x, x]), maps) if stacks else maps


def random_maps(seed: int = 0, pictures: int = 4) -> Maps:
    """Of two stacks."""
    generator = np.random.default_rng(seed)
    shape = (2, pictures, HEIGHT // 4, WIDTH // 4)
    heatmaps = generator.normal(0, 0.3, (*shape, 17)).astype(np.float32)
    offsets = generator.normal(0, 20, (*shape, len(COCO.limbs), 2)).astype(np.float32)
    return Maps(jnp.asarray(heatmaps), jnp.asarray(offsets))


def loss_of(maps: Maps, batch: Batch, config) -> tuple:
    settings, weights = map(FrozenConfigDict, (config.model.targets, config.model.loss))
    return compiled_loss(maps, compiled_targets(batch, settings), weights, settings.tau)


compiled_loss = jax.jit(simplepose_loss, static_argnums=(2, 3), compiler_options=COMPILED_SOON)


@functools.partial(jax.jit, static_argnums=2, compiler_options=COMPILED_SOON)
def compiled_decode(maps, batch, settings):
    return decode(maps, batch, COCO, settings)


@functools.partial(jax.jit, static_argnums=1, compiler_options=COMPILED_SOON)
def compiled_targets(batch, settings):
    return make_targets(batch, COCO, settings, jnp.dtype("float32"))


def loud_model(config) -> SimplePose:
    """Random weights under which maps are noise, of about 1 and of some tens of pixels: somebody is found."""
    model = SimplePose(config, nnx.Rngs(0))
    generator = np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if leaf.ndim == 4:
            factor = 1 if "offsets" in path else 0.15 if "heatmaps" in path else 1
            deviation = factor * np.sqrt(2 / np.prod(leaf.shape[:3]))
            leaf[...] = jnp.asarray(generator.normal(0, deviation, leaf.shape), jnp.float32)
    return model


@pytest.fixture(scope="module")
def model():
    return SimplePose(small_config(), nnx.Rngs(0))


@pytest.mark.slow
def test_a_training_step_has_finite_losses_and_gradients_for_every_parameter(model):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    batch = people_batch()

    def loss(params):
        whole = nnx.merge(graphdef, params, rest, copy=True)
        return whole.loss(whole(batch, train=True), batch)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=COMPILED_SOON)
    (total, terms), gradients = step(params)
    assert set(terms) == {"heatmap", "offset"}
    assert np.isfinite(total)
    for path, gradient in nnx.to_flat_state(gradients):
        assert np.isfinite(gradient[...]).all(), path
        assert np.any(gradient[...]) or "scale" in path or "bias" in path, path


def test_maps_without_error_cost_nothing_but_background():
    """Nothing is left of the offset loss; of the focal loss only exact cells would be zero, and these are."""
    config, batch = small_config(), people_batch()
    total, terms = loss_of(maps_of(batch, config, stacks=True), batch, config)
    assert (total, terms["heatmap"], terms["offset"]) == (0, 0, 0)


def test_groups_of_pictures_are_averaged_as_devices_are():
    config, batch, maps = small_config(), people_batch(), random_maps()
    config.model.loss.pictures_per_group = 2
    _, terms = loss_of(maps, batch, config)
    halves = []
    for pictures in (slice(0, 2), slice(2, 4)):
        part = jax.tree.map(lambda x, p=pictures: x[p], batch)
        halves.append(loss_of(jax.tree.map(lambda x, p=pictures: x[:, p], maps), part, config)[1])
    for name, value in terms.items():
        np.testing.assert_allclose(value, (halves[0][name] + halves[1][name]) / 2, rtol=1e-5)
    config.model.loss.pictures_per_group = 4
    assert abs(loss_of(maps, batch, config)[1]["offset"] / terms["offset"] - 1) > 0.01, "groups matter"


def test_cells_outside_of_the_loss_mask_and_padding_change_no_loss():
    config, batch, maps = small_config(), people_batch(), random_maps()
    before = loss_of(maps, batch, config)
    outside = ~batch.loss_mask[None, ..., None]
    spoilt = Maps(jnp.where(outside, 9.0, maps.heatmaps), jnp.where(outside[..., None], 99.0, maps.offsets))
    padding = ~batch.is_person[..., None, None]
    batch = dataclasses.replace(batch, keypoints=jnp.where(padding, 50.0, batch.keypoints))
    assert loss_of(spoilt, batch, config)[0] == before[0]


def test_a_total_that_is_too_large_makes_a_bad_step():
    config, batch, maps = small_config(), people_batch(), random_maps()
    total, _ = loss_of(maps, batch, config)
    config.model.loss.drop_above = float(total) / 2
    assert np.isinf(loss_of(maps, batch, config)[0])


def test_a_batch_that_does_not_split_into_groups_is_named():
    config = small_config()
    config.model.loss.pictures_per_group = 3
    with pytest.raises(UserError, match="model.loss.pictures_per_group=3 does not divide a batch of 4 pictures"):
        loss_of(random_maps(), people_batch(), config)


def test_people_are_found_again_in_the_maps_made_of_them():
    """Joints lie on whole pixels, which is what peaks can say; original pictures are twice as large."""
    config, batch = small_config(), people_batch()
    poses = compiled_decode(maps_of(batch, config), batch, FrozenConfigDict(config.model.decode))
    assert poses.valid.sum(1).tolist() == [2, 0, 3, 1]
    for picture, people in enumerate((2, 0, 3, 1)):
        found = np.asarray(poses.keypoints[picture, :people])
        assert (np.diff(poses.scores[picture, :people]) <= 0).all()
        truth = np.asarray(batch.keypoints[picture, :people, :, :2]) * 2 + 0.5
        for person in truth:
            distance = np.abs(found - person).max(-1)  # of all joints to those of each person found
            assert (distance.mean(1).min() <= 4) and (np.median(distance[distance.mean(1).argmin()]) <= 2)
    boxes, joints = np.asarray(poses.boxes), np.asarray(poses.keypoints)
    inside = (joints >= boxes[..., None, :2]) & (joints <= boxes[..., None, 2:])
    assert inside[np.asarray(poses.keypoint_scores) > 0].all(), "boxes hold the joints that were found"


def test_fillers_have_nobody():
    config, batch = small_config(), people_batch()
    batch = dataclasses.replace(batch, image_id=jnp.full_like(batch.image_id, FILLER_ID))
    assert not compiled_decode(maps_of(batch, config), batch, FrozenConfigDict(config.model.decode)).valid.any()


def test_maps_of_both_views_agree():
    """The maps of mirrored people, merged with those of the people, are the maps of the people."""
    config, batch = small_config(), people_batch()
    other = maps_of(mirrored(batch), config)
    maps = maps_of(batch, config)
    merged = merge_mirrored(maps, other, COCO.flip_index, COCO.flip_limbs)
    np.testing.assert_allclose(merged.heatmaps, maps.heatmaps, atol=0.01)
    difference = np.abs(merged.offsets - maps.offsets).max(-1)
    assert (difference < 1e-3).mean() > 0.98, "but for the border cells of windows, which round to the other side"


def test_limbs_without_a_mirror_image_keep_their_own_offsets():
    alone = [limb for limb, other in enumerate(COCO.flip_limbs) if other is None]
    assert alone == [2, 5, 14], "eyes, shoulders, hips"
    first, second = (jax.tree.map(lambda x, s=s: x[s], random_maps()) for s in (0, 1))
    merged = merge_mirrored(first, second, COCO.flip_index, COCO.flip_limbs)
    assert np.array_equal(merged.offsets[..., alone, :], first.offsets[..., alone, :])
    assert not np.array_equal(merged.offsets[..., 0, :], first.offsets[..., 0, :])


@pytest.mark.slow
def test_both_views_together_give_the_people_that_are_wanted():
    config, batch = small_config(), people_batch()
    views = maps_of(batch, config), maps_of(mirrored(batch), config)
    graphdef, state = nnx.split(SimplePose(config, nnx.Rngs(0)))

    @functools.partial(jax.jit, compiler_options=COMPILED_SOON)
    def run(state, batch, views):
        model = nnx.merge(graphdef, state)
        model.network = lambda images: jax.tree.map(lambda *pair: jnp.concatenate(pair)[None], *views)
        return model.predict(batch, flip=True), model.predict(batch, Wanted(best=2, threshold=0.5), flip=True)

    every, wanted = run(state, batch, views)
    assert every.valid.sum(1).tolist() == [2, 0, 3, 1]
    assert wanted.keypoints.shape == (4, 2, 17, 2)
    assert wanted.valid.sum(1).tolist() == [2, 0, 2, 1]
    scores, valid = np.asarray(wanted.scores), np.asarray(wanted.valid)
    assert (scores[valid] >= 0.5).all()


def test_a_picture_that_cannot_be_halved_so_often_is_named(model):
    with pytest.raises(UserError, match="a picture of 100 x 128 pixels: sides must be multiples of 8"):
        model.network(jnp.zeros((1, 128, 100, 3)))


@pytest.mark.parametrize(
    "config", [coco_hourglass104, crowdpose_hourglass104, synthetic_tiny], ids=lambda c: c.__name__
)
def test_configurations_pass_their_check(config):
    check(config.get_config())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.backbone.dims", (8, 8), r"model.backbone.dims=\(8, 8\) needs 4 numbers"),
        ("model.backbone.mods", (1,), "model.backbone.mods"),
        ("model.targets.sigma", -1.0, "model.targets.sigma=-1.0 must be positive"),
        ("model.targets.tau", 1.5, "model.targets.tau=1.5 must lie between 0 and 1"),
        ("model.loss.pictures_per_group", 3, "model.loss.pictures_per_group=3 must divide data.batch_size=8"),
        ("train.pictures_per_group", 5, "train.pictures_per_group=5 must divide data.batch_size=8"),
        ("data.canvases", ((100, 64),), "data.canvases.*must be multiples of 32 pixels"),
        ("data.eval_length", 100, "data.eval_length=100 must be a multiple of 32 pixels"),
        ("data.eval_resize", "width", "data.eval_resize='width' is unknown; known: long, height"),
        ("data.grey", 2.0, "data.grey=2.0 must be from 0 to 1"),
        ("model.num_classes", 2, "model.num_classes=2 must be 1"),
    ],
)
def test_what_does_not_fit_is_one_line(key, value, message):
    config = synthetic_tiny.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        check(config)


def test_a_skeleton_without_limbs_cannot_be_grouped():
    config = synthetic_tiny.get_config()
    del config.data.skeleton
    config.data.skeleton = dict(names=("head", "tail"))
    with pytest.raises(UserError, match="has no limbs or edges"):
        check(config)


def test_names_and_shapes_of_a_checkpoint_tell_its_configuration():
    manifest = json.loads(MANIFEST.read_text())
    found = hyper_parameters({name: tuple(shape) for name, shape in manifest["shapes"].items()})
    theirs = manifest["config"]
    assert found == {
        "model.backbone.depth": theirs["depth"],
        "model.backbone.dims": tuple(theirs["dims"]),
        "model.backbone.mods": tuple(theirs["mods"]),
        "model.backbone.stem_dim": theirs["stem_dim"],
        "model.backbone.feature_dim": theirs["feature_dim"],
        "model.backbone.stacks": theirs["stacks"],
        "model.scale_head": theirs["scale_head"],
        "data.skeleton": "coco",
    }
    assert hyper_parameters({"head.weight": (1,)}) is None
    assert set(unapplied(dict.fromkeys(manifest["shapes"], np.zeros(())))) == set(manifest["counters"])


def test_centernets_hourglass_is_all_but_the_heads():
    config = small_config()
    names = {name for source in trunk_names(config).values() for name in source.names}
    theirs = {name.removeprefix("backbone.bottom_up."): np.zeros(()) for name in names}
    heads = dict.fromkeys(("hm.0.0.conv.weight", "hp_offset.1.1.bias", "pre.0.bn.num_batches_tracked"), np.zeros(()))
    found = translate(theirs | heads, "centernet", config, names)
    assert set(found.tensors) == names and found.of_trunk
    assert sorted(found.unused) == sorted(heads)
    rest = {path[:2] for path in set(official_names(config)) - set(trunk_names(config))}
    assert rest == {("network", "heatmaps"), ("network", "offsets")}
