"""The whole ED-Pose on pictures: denoising queries are not seen, nobody on a picture, borders, names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.edpose.decoder import move_boxes
from querypose_jax.models.edpose.params import head_names
from tests.models.edpose.small_model import small_config, small_model
from tests.models.grouppose.small_model import people_batch
from tests.parity.deformable_goldens import compiled_once

BATCH = jax.tree.map(jnp.asarray, people_batch(people=(2, 0)))


@functools.cache
def results():
    """Of a training step on a picture with two people and one without: total, terms, outputs with denoising and
    without, gradients."""
    model = small_model()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @compiled_once
    def run(params):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            maps = model.maps(BATCH, True, None)
            tokens, memory = model.encode(maps, BATCH)
            noisy = model.noisy_people(BATCH, model.draw(BATCH, jax.random.key(0)))
            found, plain = model.decode_queries(tokens, memory, noisy), model.decode_queries(tokens, memory)
            total, terms = model.loss(found, BATCH)
            return total, (terms, found, plain)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (total, aux), gradients = run(params)
    return total, *aux, gradients


@pytest.mark.slow
def test_people_do_not_see_denoising_queries():
    _, _, found, plain, _ = results()
    for ours, theirs in ((found.people, plain.people), (found.instances, plain.instances)):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert np.allclose(a, b, atol=1e-5)
    assert plain.denoised is None


@pytest.mark.slow
def test_a_picture_without_people_gives_no_nan():
    total, terms, *_, gradients = results()
    assert np.isfinite(total)
    assert all(np.isfinite(value) for value in terms.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_losses_have_their_released_names():
    boxes, joints = ("loss_ce", "loss_bbox", "loss_giou"), ("loss_keypoints", "loss_oks")
    expected = [name + suffix for name in boxes for suffix in ("_0", "", "_interm")]
    expected += [*joints, *(f"dn_{name}{suffix}" for name in boxes for suffix in ("_0", ""))]
    assert sorted(results()[1]) == sorted(expected)


@pytest.mark.slow
def test_sides_of_joints_never_get_a_gradient_and_all_other_heads_do():
    gradients = dict(nnx.to_flat_state(results()[-1]))
    for path, gradient in gradients.items():
        never = path[0] in ("joint_sides", "side_head")
        if path[0] in ("joint_sides", "side_head", "class_heads", "joint_embeddings", "label_embeddings"):
            assert never == (not np.asarray(gradient[...]).any()), path


@pytest.mark.parametrize("border", [0.0, 1.0])
def test_a_box_at_the_border_has_finite_gradients(border):
    """A clipped logit is finite, and so is its derivative."""
    boxes, x = jnp.full((1, 4), border), jnp.ones((1, 4))
    gradients = compiled_once(jax.grad(lambda boxes, x: move_boxes(lambda x: x, x, boxes).sum(), (0, 1)))(boxes, x)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_only_17_joints_are_expanded_by_a_head_of_their_own():
    counts = {}
    for skeleton in ("coco", "crowdpose"):
        config = small_config()
        config.data.skeleton = skeleton
        counts[skeleton] = len({path[1] for path in head_names(config) if path[0] == "point_heads"})
    assert counts == {"coco": 2, "crowdpose": 1}  # of one pose layer
