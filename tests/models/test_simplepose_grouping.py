"""The grouping of people as a program of fixed shape does what the plain one does, in crowds and beyond its slots."""

import functools

import jax
import numpy as np
import pytest

from querypose_jax.models.simplepose.grouping import group
from querypose_jax.skeletons import COCO, CROWDPOSE
from tests.models import grouping_oracle
from tests.parity.simplepose import COMPILED_SOON
from tests.parity.test_simplepose_decode import limbs_of, rows_of

CANDIDATES = 32
MAX_DISTANCE = 40.0
SCENES_AT_ONCE = 50


def scene(generator: np.random.Generator, skeleton, people: int) -> np.ndarray:
    """Limb candidates [E, C, 13] of people close together, with joints missing, doubled and mistaken for others'."""
    joints = skeleton.num_keypoints
    centre = generator.uniform(100, 400, (people, 1, 2))
    xy = np.round(centre + generator.uniform(-60, 60, (people, joints, 2)))
    seen = generator.random((people, joints)) < generator.uniform(0.5, 1)
    noise = generator.choice([1.0, 10.0, 40.0])
    candidates = np.full((joints, CANDIDATES, 3), -1e5)  # x, y, score
    candidates[..., 2] = 0
    for joint in range(joints):
        points = xy[seen[:, joint], joint]
        points = np.concatenate([points, points[: len(points) // 4] + 3])[:CANDIDATES]
        scores = np.sort(np.round(generator.uniform(0.05, 1, len(points)), 2))[::-1]  # rounded: ties happen
        candidates[joint, : len(points)] = np.concatenate([points, scores[:, None]], 1)
    rows = np.zeros((len(skeleton.limbs), CANDIDATES, 13))
    for limb, (start, end) in enumerate(skeleton.limbs):
        for place, (x, y, score) in enumerate(candidates[start]):
            owner = np.abs(xy[:, start] - (x, y)).sum(1).argmin() if people else 0
            target = xy[owner, end] if people and x > 0 else np.array([x, y])
            guide = target + generator.normal(0, noise, 2)
            far = np.hypot(*(candidates[end, :, :2] - guide).T)
            nearest = far.argmin()
            x2, y2, score2 = candidates[end, nearest]
            length = max(np.hypot(x - x2, y - y2), 0.5)
            ids = start * CANDIDATES + place, end * CANDIDATES + nearest
            q = score * score2 * np.exp(-far[nearest] / length)
            rows[limb, place] = [x, y, score, x2, y2, score2, *ids, far[nearest], length, q, 4, 4]
    return rows.astype(np.float32)


@functools.partial(jax.jit, static_argnums=(1, 2), compiler_options=COMPILED_SOON)
def group_jitted(limbs, skeleton, slots):
    return group(limbs, skeleton, slots, MAX_DISTANCE)


def assert_grouped_alike(skeleton, scenes: int, slots: int, most_people: int) -> list[int]:
    """Compares both programs on random scenes; the numbers of people found."""
    generator = np.random.default_rng(0)
    counts = []
    for first in range(0, scenes, SCENES_AT_ONCE):
        numbers = range(first, min(first + SCENES_AT_ONCE, scenes))
        rows = np.stack([scene(generator, skeleton, number % (most_people + 1)) for number in numbers])
        ours = rows_of(group_jitted(limbs_of(rows, "float32"), skeleton, slots))
        for number, mine, limbs in zip(numbers, ours, rows, strict=True):
            theirs = grouping_oracle.group(
                limbs.astype(np.float64), skeleton.limbs, skeleton.num_keypoints, MAX_DISTANCE, slots
            )
            assert np.array_equal(mine[: len(theirs)], theirs), f"scene {number}"
            assert (mine[len(theirs) :] == -1).all(), f"scene {number}"
            counts.append(len(theirs))
    return counts


def test_crowds_are_grouped_as_by_the_plain_program():
    counts = assert_grouped_alike(COCO, scenes=12, slots=128, most_people=11)
    assert counts[0] == 0
    assert max(counts) > 5


@pytest.mark.slow
@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE], ids=lambda skeleton: skeleton.name)
def test_a_thousand_crowds_are_grouped_as_by_the_plain_program(skeleton):
    counts = assert_grouped_alike(skeleton, scenes=1000, slots=128, most_people=60)
    assert max(counts) < 128, "no slot was missing"


def test_beyond_the_slots_people_are_left_out_and_those_who_are_there_stay():
    """The plain program cuts its list after each kind of limb; new people come in the order of their scores."""
    assert max(assert_grouped_alike(COCO, scenes=12, slots=4, most_people=11)) == 4
