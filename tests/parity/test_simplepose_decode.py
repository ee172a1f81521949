"""Flip merging, up-sampling, candidates, limbs, grouping and final people of SimplePose equal the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.simplepose import defaults
from querypose_jax.models.simplepose.decode import merge_mirrored, select, to_poses
from querypose_jax.models.simplepose.grouping import People, group
from querypose_jax.models.simplepose.limbs import Limbs, bilinear, find_limbs, is_usable
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.peaks import OUTSIDE, enlarge, find_candidates, highest_peaks
from querypose_jax.structures import Batch
from tests.models import grouping_oracle
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close
from tests.parity.simplepose import COMPILED_SOON, channels_first, nameless_skeleton, offsets_first
from tests.parity.test_simplepose_losses import channels_last, pairs

MERGED, ENLARGED = 1e-6, {"float64": 1e-6, "float32": 1e-5}
PIXELS, SCORES = {"float64": 1e-4, "float32": 1e-3}, {"float64": 1e-6, "float32": 1e-5}
ROUNDED = 0.011  # pixels: the golden's final coordinates are rounded to 1/100
SLOTS = 64


@pytest.fixture(params=goldens.files("sp_decode"))
def golden(request):
    return Golden(request.param)


def decode_config(meta: dict) -> ConfigDict:
    """config.model.decode of a golden."""
    config = defaults.get_config().model.decode
    config.update(
        candidates=meta["topk"],
        heatmap_threshold=meta["heatmap_threshold"],
        person_threshold=meta["person_threshold"],
        max_distance=float(meta["dist_max"]),
        min_length=meta["min_length"],
        people=SLOTS,
    )
    return config


def maps_of(golden: Golden, prefix: str, picture: int, dtype: str) -> Maps:
    heatmaps = channels_last(golden[f"{prefix}heatmaps{picture}"].astype(dtype))
    offsets = pairs(golden[f"{prefix}offsets{picture}"].astype(dtype))
    return Maps(jnp.asarray(heatmaps)[None], jnp.asarray(offsets)[None])


def mirror(meta: dict) -> tuple[tuple, tuple]:
    """Joint and limb of the mirror image for each joint and limb, as `merge_mirrored` takes them."""
    flip_limbs, reversed_limbs = meta["mirror_limbs"]
    return tuple(meta["mirror"]), tuple(
        None if limb in reversed_limbs else other for limb, other in enumerate(flip_limbs)
    )


def views(golden: Golden, picture: int, dtype: str) -> tuple[Maps, Maps]:
    """The maps of a picture and those of its mirror image."""
    return maps_of(golden, "", picture, dtype), maps_of(golden, "mirror_", picture, dtype)


def columns(limbs: Limbs) -> np.ndarray:
    """[..., C, 13] in the order of the goldens."""
    start, end = (jax.tree.map(lambda x, e=e: np.asarray(x[..., e, :]), limbs.xy) for e in (0, 1))
    joints = [[np.asarray(x[..., e]) for x in (limbs.joint_score, limbs.id, limbs.joint_scale)] for e in (0, 1)]
    (v1, id1, scale1), (v2, id2, scale2) = joints
    rest = (np.asarray(x) for x in (limbs.distance, limbs.length, limbs.score))
    return np.stack(
        [start[..., 0], start[..., 1], v1, end[..., 0], end[..., 1], v2, id1, id2, *rest, scale1, scale2], -1
    )


def limbs_of(rows: np.ndarray, dtype: str) -> Limbs:
    """The inverse of `columns`."""
    x = [jnp.asarray(column.astype(dtype)) for column in np.moveaxis(rows, -1, 0)]

    def both(start: int, end: int):
        return jnp.stack([x[start], x[end]], -1)

    return Limbs(
        xy=jnp.stack([both(0, 3), both(1, 4)], -1),
        joint_score=both(2, 5),
        joint_scale=both(11, 12),
        id=jnp.asarray(rows[..., [6, 7]].astype(np.int32)),
        distance=x[8],
        length=x[9],
        score=x[10],
    )


def rows_of(people: People) -> np.ndarray:
    """[B, P, K, 6]"""
    fields = (people.xy[..., 0], people.xy[..., 1], people.score, people.scale, people.limb_score, people.id)
    return np.stack([np.asarray(field, np.float64) for field in fields], -1)


@goldens.float32_is_slow
def test_mirrored_maps_are_merged_and_enlarged(golden, dtype):
    @functools.partial(jax.jit, compiler_options=COMPILED_SOON)
    def run(own, mirrored):
        maps = merge_mirrored(own, mirrored, *mirror(golden.meta))
        return maps, enlarge(maps.heatmaps), bilinear_everywhere(maps.offsets)

    for picture in range(len(golden.meta["pictures"])):
        maps, heatmaps, offsets = run(*views(golden, picture, dtype))
        stored = golden[f"merged_heatmaps{picture}"]
        assert_close(channels_first(maps.heatmaps)[0, ::4], stored, relative=MERGED)
        stored = golden[f"merged_offsets{picture}"]
        assert_close(offsets_first(maps.offsets)[0, : len(stored)], stored, relative=MERGED)
        assert_close(heatmaps[0, ::4, ::5, ::3], golden[f"up_heatmaps{picture}"], relative=ENLARGED[dtype])
        assert_close(offsets[0, ::7, ::5, ::3], golden[f"up_offsets{picture}"], relative=ENLARGED[dtype])


def bilinear_everywhere(offsets):
    """[1, 2E, H, W] from [1, h, w, E, 2]."""
    channels = jnp.moveaxis(offsets.reshape(*offsets.shape[:3], -1), -1, 1)
    height, width = (4 * side for side in channels.shape[2:])
    y, x = (jnp.broadcast_to(a.ravel(), (*channels.shape[:2], a.size)) for a in jnp.indices((height, width)))
    return bilinear(channels[..., None], x, y).reshape(*channels.shape[:2], height, width)


@goldens.float32_is_slow
def test_candidates_limbs_and_people_equal_reference(golden, dtype, record_property):
    config = decode_config(golden.meta)
    skeleton = nameless_skeleton(golden.meta["joints"], golden.meta["limbs"])

    @functools.partial(jax.jit, compiler_options=COMPILED_SOON)
    def run(own, mirrored, batch):
        maps = merge_mirrored(own, mirrored, *mirror(golden.meta))
        candidates = find_candidates(maps.heatmaps, config.candidates, config.heatmap_threshold)
        limbs = find_limbs(candidates, maps, skeleton, config)
        selected = select(group(limbs, skeleton, SLOTS, config.max_distance), config.person_threshold)
        return candidates, limbs, is_usable(limbs, config.max_distance), *selected, to_poses(*selected, batch)

    for picture, rule in enumerate(golden.meta["pictures"]):
        found = run(*views(golden, picture, dtype), picture_of(rule, dtype))
        candidates, limbs, usable, people, is_person, poses = found
        check_candidates(golden, picture, candidates, config.heatmap_threshold, dtype)
        check_limbs(golden, picture, limbs, usable, dtype)
        count = len(golden[f"scores{picture}"])
        assert int(is_person.sum()) == count
        check_people(rows_of(people)[0, :count], golden[f"people{picture}"], dtype)
        keypoints = np.asarray(poses.keypoints[0, :count]) - 0.5
        stored = golden[f"keypoints{picture}"]
        record_property("keypoints", assert_close(keypoints, stored[..., :2], ROUNDED))
        assert np.array_equal(np.asarray(poses.keypoint_scores[0, :count]) > 0, stored[..., 2] > 0)
        assert_close(poses.scores[0, :count], golden[f"scores{picture}"], relative=SCORES[dtype])
        assert not np.asarray(poses.valid[0, count:]).any()


def picture_of(rule: dict, dtype: str) -> Batch:
    """A batch that tells where one picture of a golden lies on the network's input."""
    (left, top), (scale_x, scale_y) = rule["pad"], rule["scale"]
    affine = np.array([[[1 / scale_x, 0, -left / scale_x], [0, 1 / scale_y, -top / scale_y]]], dtype)
    nobody = np.zeros((1, 1), np.int32)
    batch = Batch(
        image=np.zeros((1, 1, 1, 3), np.uint8),
        valid_size=np.array([rule["padded"]], np.int32),
        orig_size=np.array([rule["original_hw"]], np.int32),
        image_id=np.ones(1, np.int32),
        inv_affine=affine,
        boxes=np.zeros((1, 1, 4), np.float32),
        keypoints=np.zeros((1, 1, 1, 3), np.float32),
        area=nobody.astype(np.float32),
        label=nobody,
        is_person=nobody.astype(bool),
    )
    return jax.tree.map(jnp.asarray, batch)


def check_candidates(golden, picture, candidates, threshold, dtype):
    """Scores everywhere, places where they count."""
    stored = golden[f"score{picture}"]
    assert_close(candidates.score[0], stored, relative=SCORES[dtype])
    counts = stored >= threshold
    assert np.array_equal(np.asarray(candidates.index[0])[counts], golden[f"index{picture}"][counts])
    assert np.array_equal(np.asarray(candidates.xy[0])[counts], golden[f"xy{picture}"][counts])
    assert (np.asarray(candidates.xy[0])[~counts] <= -OUTSIDE / 2).all()


def check_limbs(golden, picture, limbs, usable, dtype):
    stored = golden[f"usable{picture}"]
    assert np.array_equal(np.asarray(usable[0]), stored)
    ours, theirs = columns(limbs)[0][stored], golden[f"limbs{picture}"][stored]
    exact = [0, 1, 3, 4, 6, 7]  # coordinates and ids
    assert np.array_equal(ours[:, exact], theirs[:, exact])
    assert_close(ours[:, [8, 9]], theirs[:, [8, 9]], PIXELS[dtype], what="distance and length")
    assert_close(ours[:, [2, 5, 10]], theirs[:, [2, 5, 10]], relative=SCORES[dtype], what="scores")
    assert_close(ours[:, [11, 12]], theirs[:, [11, 12]], relative=SCORES[dtype], what="scales")


def check_people(ours, theirs, dtype):
    """[P, K, 6]"""
    assert ours.shape == theirs.shape
    assert np.array_equal(ours[..., [0, 1, 5]], theirs[..., [0, 1, 5]]), "coordinates and ids"
    assert_close(ours[..., 2:5], theirs[..., 2:5], relative=SCORES[dtype])


@goldens.float32_is_slow
def test_tangles_are_grouped_as_in_the_reference(golden, dtype):
    config = decode_config(golden.meta)
    for (joints, skeleton_limbs), numbers in alike(golden.meta["edges"]).items():
        skeleton = nameless_skeleton(joints, skeleton_limbs)
        stored = [golden[f"edge{number}_limbs"] for number in numbers]
        most = max(rows.shape[1] for rows in stored)
        padded = [np.pad(rows, ((0, 0), (0, most - rows.shape[1]), (0, 0)), constant_values=-1e5) for rows in stored]

        @functools.partial(jax.jit, compiler_options=COMPILED_SOON)
        def run(limbs, skeleton=skeleton):
            people = group(limbs, skeleton, SLOTS, config.max_distance)
            return people, *select(people, config.person_threshold)

        people, chosen, is_person = run(limbs_of(np.stack(padded), dtype))
        for place, number in enumerate(numbers):
            grouped, selected = (golden[f"edge{number}_{kind}"] for kind in ("grouped", "people"))
            full = np.full((SLOTS, *grouped.shape[1:]), -1.0)
            full[: len(grouped)] = grouped
            check_people(rows_of(people)[place], full, dtype)
            assert int(is_person[place].sum()) == len(selected), golden.meta["edges"][number]["name"]
            check_people(rows_of(chosen)[place, : len(selected)], selected, dtype)


def alike(edges: list[dict]) -> dict[tuple, list[int]]:
    """(joints, limbs) -> numbers of the tangles of such people."""
    found: dict[tuple, list[int]] = {}
    for number, edge in enumerate(edges):
        found.setdefault((edge["joints"], tuple(map(tuple, edge["limbs"]))), []).append(number)
    return found


def test_the_oracle_groups_tangles_as_the_reference(golden):
    for number, edge in enumerate(golden.meta["edges"]):
        rows = golden[f"edge{number}_limbs"].astype(np.float64)
        plain = grouping_oracle.group(rows, edge["limbs"], edge["joints"], golden.meta["dist_max"])
        assert np.array_equal(plain.astype(np.float32), golden[f"edge{number}_grouped"]), edge["name"]


@goldens.float32_is_slow
def test_peaks_are_found_as_in_the_reference(golden, dtype):
    """Ties, plateaus, negative peaks on the border, an empty map."""
    full = jnp.asarray(golden["peak_heatmaps"].astype(dtype))[None]
    threshold = golden.meta["heatmap_threshold"]
    candidates = highest_peaks(full, golden["peak_score"].shape[1], threshold)
    stored = golden["peak_score"]
    assert_close(candidates.score[0], stored, relative=SCORES[dtype])
    counts = stored >= threshold
    assert np.array_equal(np.asarray(candidates.index[0])[counts], golden["peak_index"][counts])
    assert np.array_equal(np.asarray(candidates.xy[0])[counts], golden["peak_xy"][counts])
