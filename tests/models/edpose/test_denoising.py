"""Denoising queries: what is drawn, in pictures with people and without, and how losses of groups are averaged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from querypose_jax.models.deformable.targets import make_targets
from querypose_jax.models.edpose.criterion import denoising_means
from querypose_jax.models.edpose.denoising import NOBODY, denoising_queries, draw_noise
from querypose_jax.models.edpose.outputs import Denoised
from tests.models.edpose.small_model import small_config
from tests.models.grouppose.small_model import people_batch
from tests.parity.deformable_goldens import compiled_once

CONFIG = small_config(**{"denoising.queries": 11, "loss.pictures_per_group": 4}).model
PEOPLE = (2, 0, 3)


draw_once = compiled_once(lambda key: draw_noise(key, jnp.array(PEOPLE), CONFIG.denoising))


def draw(seed: int = 0):
    return draw_once(jax.random.key(seed))


def test_people_are_copied_in_turn_and_the_queries_left_over_are_drawn():
    person = np.asarray(draw().person)
    assert person[0, :10].tolist() == [0, 1] * 5
    assert person[2, :9].tolist() == [0, 1, 2] * 3
    left_over = np.concatenate([np.asarray(draw(seed).person)[2, 9:] for seed in range(20)])
    assert set(left_over.tolist()) == {0, 1, 2}
    assert (person[1] == NOBODY).all()


def test_draws_follow_from_the_key_alone():
    for first, same, other in zip(draw(), draw(), draw(1), strict=True):
        assert np.array_equal(first, same)
        assert not np.array_equal(first, other)


@pytest.fixture(scope="module")
def queries():
    targets = make_targets(jax.tree.map(jnp.asarray, people_batch(PEOPLE)), jnp.dtype("float32"))
    table = jnp.arange(101.0)[:, None]  # tells which label was taken
    return targets, compiled_once(lambda noise: denoising_queries(noise, targets, table, 2, CONFIG.denoising))(draw())


def test_boxes_move_within_the_noise_and_labels_of_half_of_them_are_replaced(queries):
    targets, found = queries
    person = np.asarray(draw().person)[0]
    clean = np.asarray(targets.boxes)[0][person]
    assert np.array_equal(found.target[0], clean)
    reach = 0.4 * np.concatenate([clean[:, 2:] / 2, clean[:, 2:]], -1)
    lowest, highest = np.clip(clean - reach, 1e-3, 1 - 1e-3), np.clip(clean + reach, 1e-3, 1 - 1e-3)
    boxes = np.asarray(found.boxes)[0]
    assert (boxes >= lowest - 1e-5).all()
    assert (boxes <= highest + 1e-5).all()
    assert np.abs(boxes - clean).max() > 0.01
    kept = np.asarray(draw().label_draw) >= 0.5
    assert np.array_equal(np.asarray(found.content)[..., 0][kept], np.asarray(found.column)[kept])
    assert kept.any()
    assert not kept.all()


def test_in_a_picture_without_people_boxes_are_random_and_belong_to_nobody(queries):
    _, found = queries
    assert (np.asarray(found.column)[1] == 2).all()  # one beyond the last column
    assert np.allclose(found.target[1], draw().empty_boxes[1])
    assert np.asarray(found.own_block)[1].all()
    block = np.asarray(found.own_block)[0]
    assert np.array_equal(block, np.arange(11)[:, None] // 2 == np.arange(11) // 2)


def denoised(pictures: int) -> Denoised:
    rng = np.random.default_rng(0)
    logits, boxes = rng.normal(size=(2, pictures, 11, 2)), rng.random((2, pictures, 11, 4))
    column, target = rng.integers(0, 3, (pictures, 11)), rng.random((pictures, 11, 4))
    return Denoised(*(jnp.asarray(x, jnp.float32) for x in (logits, boxes)), jnp.asarray(column), jnp.asarray(target))


def test_losses_are_summed_within_a_group_of_pictures_and_averaged_over_groups():
    """Eight pictures cost what their two groups of four cost on average; two pictures, their sum."""
    all_eight, config = denoised(8), CONFIG.loss

    def part(pictures):
        of_layers = {name: getattr(all_eight, name)[:, pictures] for name in ("logits", "boxes")}
        return dataclasses.replace(
            all_eight, **of_layers, column=all_eight.column[pictures], target=all_eight.target[pictures]
        )

    means = compiled_once(lambda parts: [denoising_means(x, config, len(x.column)) for x in parts])
    whole, first, second = means([all_eight, part(slice(4)), part(slice(4, None))])
    one, other, pair = means([part(x) for x in (slice(1), slice(1, 2), slice(2))])
    for name, values in whole.items():
        assert np.allclose(values, (first[name] + second[name]) / 2, rtol=1e-5)
        assert np.allclose(pair[name], one[name] + other[name], rtol=1e-5)
