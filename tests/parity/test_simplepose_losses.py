"""Losses of SimplePose and their gradients equal the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.simplepose import defaults
from querypose_jax.models.simplepose.losses import simplepose_loss
from querypose_jax.models.simplepose.outputs import Maps
from querypose_jax.models.simplepose.targets import Targets
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close
from tests.parity.simplepose import COMPILED_SOON, channels_first, offsets_first

LOSSES = {"float64": 1e-6, "float32": 1e-5}
GRADIENTS = {"float64": {"heatmaps": 1e-6, "offsets": 1e-6, "scales": 1e-6}}
GRADIENTS["float32"] = {"heatmaps": 1e-5, "offsets": 1e-3, "scales": 1e-5}


def channels_last(maps: np.ndarray) -> np.ndarray:
    return np.moveaxis(maps, -3, -1)


def pairs(maps: np.ndarray) -> np.ndarray:
    """[..., 2E, h, w] -> [..., h, w, E, 2]."""
    last = channels_last(maps)
    return last.reshape(*last.shape[:-1], -1, 2)


def golden_targets(golden: Golden, dtype: str) -> Targets:
    """Targets as a golden stores them."""
    numbers = {name: golden[f"target_{name}"].astype(dtype) for name in ("heatmaps", "person_scale", "scales")}
    made = dict(
        heatmaps=channels_last(numbers["heatmaps"]),
        offsets=pairs(golden["target_offsets"].astype(dtype)),
        is_offset=channels_last(golden["target_offset_labelled"][:, ::2]),
        person_scale=channels_last(numbers["person_scale"][:, ::2]),
        is_counted=golden["loss_mask"][:, 0],
        scales=channels_last(numbers["scales"]),
        is_scale=channels_last(golden["target_scale_labelled"]),
    )
    return Targets(**jax.tree.map(jnp.asarray, made))


def loss_config(golden: Golden, gamma: float) -> ConfigDict:
    """config.model.loss of a golden: weights, margins, and all pictures in one group."""
    config = defaults.get_config().model.loss
    config.update({f"{name}_weight": weight for name, weight in golden.meta["weights"].items()})
    config.update(focal_gamma=float(gamma), pictures_per_group=0)
    for ours, theirs in (("offset_margin", "margin"), ("scale_margin", "scale_margin")):
        config[ours] = golden.meta.get(theirs, config[ours])
    return config


@goldens.float32_is_slow
@pytest.mark.parametrize("path", goldens.files("sp_losses"))
def test_losses_and_gradients_equal_reference(path, dtype, record_property):
    golden = Golden(path)
    targets = golden_targets(golden, dtype)
    predicted = {
        "heatmaps": channels_last(golden["pred_heatmaps"].astype(dtype)),
        "offsets": pairs(golden["pred_offsets"].astype(dtype)),
    }
    if "pred_scales" in golden:
        predicted["scales"] = channels_last(golden["pred_scales"].astype(dtype))
    maps = Maps(**jax.tree.map(jnp.asarray, predicted))
    gammas = sorted({name.split("/")[0] for name in golden.names("gamma")})
    assert gammas
    for gamma in gammas:
        config = loss_config(golden, float(gamma.removeprefix("gamma")))

        def loss(maps, config=config):
            return simplepose_loss(maps, targets, config, golden.meta["tau"])

        (total, terms), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=COMPILED_SOON)(
            maps
        )
        for name, value in {"total": total, **terms}.items():
            stored = golden[f"{gamma}/{name}"]
            difference = assert_close(value, stored, relative=LOSSES[dtype], what=f"{gamma}/{name}")
            record_property(f"{gamma}/{name}", difference / abs(float(stored)))
        ours = {"heatmaps": channels_first(gradients.heatmaps), "offsets": offsets_first(gradients.offsets)}
        if gradients.scales is not None:
            ours["scales"] = channels_first(gradients.scales)
        for kind, gradient in ours.items():
            name = f"{gamma}/grad_{kind}"
            if name in golden:
                difference = assert_close(gradient, golden[name], relative=GRADIENTS[dtype][kind], what=name)
                record_property(name, difference / np.abs(golden[name]).max())
