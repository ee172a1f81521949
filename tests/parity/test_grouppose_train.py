"""One training forward and backward of Group Pose equals the reference: predictions, matches, losses, gradients of
parameters and maps; and twenty steps of AdamW follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import common
from querypose_jax.models.deformable.targets import make_targets
from querypose_jax.models.grouppose.criterion import match
from querypose_jax.models.grouppose.params import head_names
from querypose_jax.training.optimizer import global_norm, make_optimizer
from tests.parity import goldens
from tests.parity.deformable_goldens import batch, check_tokens, compiled_once, maps
from tests.parity.goldens import Golden, assert_close, assert_same_indices, relative_l2
from tests.parity.grouppose_goldens import by_key, grouppose, whole_config
from tests.parity.test_grouppose_infer import EVERY_TOKEN, FULL, TINY, is_full
from tests.parity.test_head_train import official

LOSSES = {"float32": 1e-5, "float64": 1e-6}  # relative
GRADIENTS = {"float32": 1e-3, "float64": 1e-5}  # relative L2 of each tensor
NOISE = {"float32": 1e-6, "float64": 1e-12}  # norm of a gradient that is zero in theory, of the largest norm
EQUAL_STEPS = {"float32": 10, "float64": 20}  # of the curve, in which indices are equal


def gradients(golden: Golden, dtype: str):
    """(total, (outputs, terms, matches, memory)) and gradients of parameters and maps."""
    model = grouppose(golden, dtype)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    made = batch(golden, dtype)

    @compiled_once
    def step(params, rest, maps, batch):
        def loss(params, maps):
            model = nnx.merge(graphdef, params, rest, copy=True)
            tokens, memory = model.encode(maps, batch)
            outputs = model.decode_queries(tokens, memory)
            total, terms = model.loss(outputs, batch)
            return total, (outputs, terms, matches_of(model, outputs, batch), memory)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, maps)

    return step(params, rest, maps(golden, golden.meta["config"]["channels"], dtype), made)


def matches_of(model, outputs, batch):
    """What `loss` has matched; the compiler computes it once."""
    targets = make_targets(batch, outputs.points.dtype)
    return match(outputs, targets, model.config.loss, model.skeleton.sigmas, model.solver)


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("gp_train", is_slow=is_full))
def test_training_step_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    (total, (outputs, terms, matches, memory)), (of_params, of_maps) = gradients(golden, dtype)
    tolerance = FULL if is_full(golden.meta["config"]) else TINY
    check_tokens(outputs.token, golden["token_index"])
    every = int(golden.get("references_every", np.array(1)))
    for key, value in (by_key(outputs) | {"memory": np.asarray(memory)[:, ::EVERY_TOKEN]}).items():
        value = value[:, ::every] if key.startswith("references") else value
        record_property(key, assert_close(value, golden[key], tolerance[key.split("/")[0]][dtype], what=key))
    check_matches(golden, matches, outputs)

    weights = {"loss_ce": "w_class", "loss_keypoints": "w_keypoints", "loss_oks": "w_oks"}
    for key, value in terms.items():
        record_property(f"raw/{key}", assert_close(value, golden[f"raw/{key}"], relative=LOSSES[dtype], what=key))
        weight = golden.meta["config"][weights["_".join(key.split("_")[:2])]]
        assert_close(weight * value, golden[f"weighted/{key}"], relative=LOSSES[dtype], what=key)
    assert {key.removeprefix("raw/") for key in golden.names("raw/")} == set(terms)
    assert_close(total, golden["total"], relative=LOSSES[dtype], what="total")

    theirs = official(of_params, head_names(grouppose_config(golden)))
    record_property("gradients", check_gradients(golden, theirs, dtype))
    check_maps(golden, of_maps, dtype)


def check_maps(golden, of_maps, dtype):
    """Gradients by the maps of the backbone: stored channels, and the norm of all."""
    for level, gradient in zip(golden.meta["levels"], of_maps, strict=True):
        nchw = np.asarray(gradient).transpose(0, 3, 1, 2)
        stored = nchw[:, :: golden.meta["feat_grad_channel_stride"]]
        assert relative_l2(stored, golden[f"feat_grad/c{level}"]) <= GRADIENTS[dtype], f"c{level}"
        norm = golden[f"feat_grad_norm/c{level}"]
        assert_close(np.linalg.norm(nchw), norm, relative=GRADIENTS[dtype], what=f"c{level}")


def grouppose_config(golden: Golden) -> ConfigDict:
    """config.model of a golden."""
    return whole_config(golden.meta["config"], "float32").model


def check_matches(golden, matches, outputs):
    queries, slots = outputs.logits.shape[2], matches.query.shape[-1]
    names = [*(str(layer) for layer in range(len(outputs.logits) - 1)), "interm"]
    for s, name in enumerate(names):
        assert_same_indices(matches.query[s], golden[f"match_query/{name}"], nowhere=queries)
        assert_same_indices(matches.person[s], golden[f"match_people/{name}"], nowhere=slots)


def check_gradients(golden, ours, dtype) -> float:
    """Norms of all parameters' gradients and the stored gradients. Returns the largest relative difference."""
    norms = dict(zip(golden["param_names"].tolist(), golden["param_grad_norms"].tolist(), strict=True))
    assert set(norms) == set(ours)
    floor = NOISE[dtype] * max(norms.values())
    for name, norm in norms.items():
        assert abs(np.linalg.norm(ours[name]) - norm) <= GRADIENTS[dtype] * norm + floor, name
    stored = [key.removeprefix("grad/") for key in golden.names("grad/")]
    differences = {name: relative_l2(ours[name], golden[f"grad/{name}"], floor) for name in stored}
    worst = max(differences, key=differences.get)
    assert differences[worst] <= GRADIENTS[dtype], f"{worst}: {differences[worst]}"
    return differences[worst]


def curve_tolerance(dtype: str, step: int) -> float:
    """Relative tolerance on the total loss before update `step` (from 0)."""
    if dtype == "float64":
        return 1e-6
    return 1e-5 if step < 3 else 1e-2


def released_optimizer(golden: Golden, steps: int) -> optax.GradientTransformation:
    config = common.get_config().optimizer
    config.update(
        learning_rate=float(golden["lr"]),
        weight_decay=float(golden["weight_decay"]),
        clip_norm=float(golden["clip"]),
        warmup_steps=0,
        milestones=(),
    )
    return make_optimizer(config, steps)


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("gp_train_curve", is_slow=lambda config: True))
def test_training_curve_follows_reference(path, dtype, record_property):
    golden = Golden(path)
    steps = len(golden["total"])
    graphdef, params, rest = nnx.split(grouppose(golden, dtype), nnx.Param, ...)
    optimizer = released_optimizer(golden, steps)
    opt_state = optimizer.init(params)
    features, made = maps(golden, golden.meta["config"]["channels"], dtype), batch(golden, dtype)

    @jax.jit
    def step(params, opt_state):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            outputs = model.decode_queries(*model.encode(features, made))
            total, terms = model.loss(outputs, made)
            return total, (outputs, terms, matches_of(model, outputs, made))

        (total, aux), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, (total, *aux, global_norm(gradients))

    differences = []
    for index in range(steps):
        params, opt_state, (total, outputs, terms, matches, norm) = step(params, opt_state)
        tolerance = curve_tolerance(dtype, index)
        assert_close(total, golden["total"][index], relative=tolerance, what=f"total at step {index}")
        differences.append(abs(float(total) / golden["total"][index] - 1))
        if index < EQUAL_STEPS[dtype]:
            check_tokens(outputs.token, golden["token_index"][index])
            assert_same_indices(matches.query, golden["match_query"][index], nowhere=outputs.logits.shape[2])
        if dtype == "float64":
            assert_close(norm, golden["grad_norm"][index], relative=1e-5, what=f"gradient norm at step {index}")
            components = jnp.stack([terms[name] for name in golden["component_names"].tolist()])
            assert_close(components, golden["components"][index], relative=tolerance, what=f"terms at step {index}")
    record_property("curve", max(differences))
    if dtype == "float64":
        final = official(params, head_names(grouppose_config(golden)))
        for key in golden.names("final/"):
            assert relative_l2(final[key.removeprefix("final/")], golden[key]) <= 1e-5, key
