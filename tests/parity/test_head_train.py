"""One training forward and backward of everything after the pyramid equals the reference: predictions, matches,
losses, gradients of parameters and features, running statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.models.querypose.params import KNOWINGLY_UNUSED, head_names
from querypose_jax.structures import PeopleBudget
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close, assert_same_indices, by_row, relative_l2
from tests.parity.test_head_infer import TOLERANCES, is_full

LOSS_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # relative
GRADIENT_TOLERANCE = {"float32": 1e-1, "float64": 1e-5}  # relative L2 of each tensor
GRADIENT_MEDIAN = {"float32": 5e-3, "float64": 1e-5}
FEATURE_GRADIENT_TOLERANCE = {"float32": 5e-2, "float64": 1e-5}
NOISE = {"float32": 1e-5, "float64": 1e-9}  # norm of a gradient that is zero in theory, of the largest norm


def train_step(golden, dtype):
    """Outputs, total, terms, gradients by official name, feature gradients and new statistics by official name."""
    model = goldens.head(golden, dtype)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def step(params, rest, pyramid, batch):
        def loss(params, pyramid):
            model = nnx.merge(graphdef, params, rest, copy=True)
            outputs = model.cascade(pyramid, batch, train=True)
            total, terms = model.loss(outputs, batch)
            return total, (outputs, terms, nnx.state(model, nnx.BatchStat))

        (total, aux), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, pyramid)
        return total, aux, gradients

    result = step(params, rest, goldens.pyramid(golden, dtype), goldens.batch(golden, dtype))
    total, (outputs, terms, statistics), (gradients, feature_gradients) = result
    names = head_names(*goldens.experiment(golden, dtype))
    return outputs, total, terms, official(gradients, names), feature_gradients, official(statistics, names)


def official(state, names):
    """nnx state -> {official name: array in PyTorch's layout}."""
    out = {}
    for path, leaf in nnx.to_flat_state(state):
        tensors = names[path].to_official(np.asarray(leaf[...]))
        out.update(zip(names[path].names, tensors, strict=True))
    return out


def without_zero_gradients(name, array):
    """The gradient of a packed q, k, v bias without the keys' third: zero in theory (softmax shift invariance), here
    rounding noise."""
    if name.endswith("in_proj_bias"):
        third = len(array) // 3
        return np.concatenate([array[:third], array[2 * third :]])
    return array


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.head_files("head_train", is_slow=lambda c: is_full(c) or c["light"]))
def test_training_step_equals_reference(path, dtype, record_property):
    golden = Golden(path)
    if dtype == "float32" and is_full(golden.meta["config"]):
        pytest.skip("full size is compared in float64; float32 on the tiny heads")
    outputs, total, terms, gradients, feature_gradients, statistics = train_step(golden, dtype)

    queries, slots = outputs.logits.shape[2], outputs.matches.query.shape[-1]
    assert_same_indices(outputs.matches.query, golden["match_query"], nowhere=queries)
    assert_same_indices(outputs.matches.person, golden["match_gt"], nowhere=slots)
    pose = np.concatenate([outputs.xy, 1 - np.asarray(outputs.sigma).mean(-1, keepdims=True)], -1)
    rows = golden["pose"].shape[1]
    predictions = {
        "logits": outputs.logits,
        "boxes": outputs.boxes,
        "pose": by_row(pose)[:, :rows],
        "sigma": by_row(np.asarray(outputs.sigma))[:, :rows],
    }
    for key, value in predictions.items():
        record_property(key, assert_close(value, golden[key], TOLERANCES[key][dtype], what=key))

    for key in golden.names("raw/"):
        name = key.removeprefix("raw/")
        record_property(key, assert_close(terms[name], golden[key], relative=LOSS_TOLERANCE[dtype], what=key))
    assert {key.removeprefix("raw/") for key in golden.names("raw/")} == set(terms)
    assert_close(total, golden["total"], relative=LOSS_TOLERANCE[dtype], what="total")

    record_property("gradients", assert_same_gradients(golden, gradients, dtype))
    assert_same_feature_gradients(golden, feature_gradients, dtype)
    for key in golden.names("bn/"):
        name = key.removeprefix("bn/")
        if not name.endswith("num_batches_tracked"):
            assert_close(statistics[name], golden[key], relative=LOSS_TOLERANCE[dtype], what=key)


def assert_same_gradients(golden, gradients, dtype) -> float:
    """Norms of all parameters' gradients and the stored gradients. Returns the largest relative difference."""
    norms = dict(zip(golden["param_names"].tolist(), golden["param_grad_norms"].tolist(), strict=True))
    floor = NOISE[dtype] * max(norms.values())  # norms of what is zero in theory
    for name, norm in norms.items():
        if name not in gradients:
            assert norm == 0, f"{name} has a gradient in the reference and no counterpart here"
            assert KNOWINGLY_UNUSED.search(name), f"{name} is neither here nor known to be unused"
        elif name.endswith("LSA_conv.bias"):
            assert np.linalg.norm(gradients[name]) <= floor, f"{name}: zero in theory"
        else:
            actual = np.linalg.norm(without_zero_gradients(name, gradients[name]))
            assert abs(actual - norm) <= GRADIENT_TOLERANCE[dtype] * norm + floor, name
    stored = [key.removeprefix("grad/") for key in golden.names("grad/") if not key.endswith("LSA_conv.bias")]
    differences = {}
    for name in stored:
        actual, expected = (without_zero_gradients(name, x) for x in (gradients[name], golden[f"grad/{name}"]))
        differences[name] = relative_l2(actual, expected, floor)
    worst = max(differences, key=differences.get)
    assert differences[worst] <= GRADIENT_TOLERANCE[dtype], f"{worst}: {differences[worst]}"
    assert np.median(list(differences.values())) <= GRADIENT_MEDIAN[dtype]
    return differences[worst]


def assert_same_feature_gradients(golden, gradients, dtype):
    for level, gradient in zip((2, 3, 4, 5), gradients, strict=True):
        stride = golden["feat_grad_channel_stride"][level - 2]
        nchw = np.asarray(gradient).transpose(0, 3, 1, 2)
        difference = relative_l2(nchw[:, ::stride], golden[f"feat_grad/p{level}"])
        assert difference <= FEATURE_GRADIENT_TOLERANCE[dtype], f"p{level}: {difference}"
        assert_close(
            np.linalg.norm(nchw), golden[f"feat_grad_norm/p{level}"], relative=FEATURE_GRADIENT_TOLERANCE[dtype]
        )


@pytest.mark.slow
@pytest.mark.parametrize("path", goldens.files("head_train"))
def test_row_budget_changes_no_loss(path):
    """Packed rows beyond the people, and a larger budget, leave the losses and gradients as they are."""
    golden = Golden(path)
    if is_full(golden.meta["config"]):
        pytest.skip("shown on the tiny heads")
    with jax.enable_x64(True):
        model = goldens.head(golden, "float64")
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        batch = goldens.batch(golden, "float64")
        pyramid = goldens.pyramid(golden, "float64")
        people = int(batch.is_person.sum())

        def loss(params, batch):
            model = nnx.merge(graphdef, params, rest, copy=True)
            return model.loss(model.cascade(pyramid, batch, train=True), batch)[0]

        results = []
        for rows in (max(people, 1), people + 3):
            packed = dataclasses.replace(batch, budget=PeopleBudget(1, rows))
            results.append(jax.jit(jax.value_and_grad(loss))(params, packed))
        (tight, tight_gradient), (loose, loose_gradient) = results
        assert_close(tight, loose, relative=1e-12)
        for a, b in zip(jax.tree.leaves(tight_gradient), jax.tree.leaves(loose_gradient), strict=True):
            assert_close(a, b, absolute=1e-10 * float(jnp.abs(b).max()) + 1e-12)
