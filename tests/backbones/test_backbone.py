"""Normalising pictures, the strides of the trunks, and what an unknown backbone is answered."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from querypose_jax.backbones.backbone import Backbone, normalise
from querypose_jax.errors import UserError
from querypose_jax.layers.initialisers import Keys
from tests.models.small_model import people_batch

FLOAT32 = jnp.dtype("float32")
TRUNKS = {  # settings and channels of C2..C5
    "resnet": (dict(depth=50), (256, 512, 1024, 2048)),
    "small": (dict(), (48, 96, 128, 192)),
    "hrnet": (dict(branch_width=32, pyramid="plain"), (32, 64, 128, 256)),
    "hrnet v1": (dict(branch_width=48, pyramid="v1"), (48, 96, 192, 384)),
    "swin": (dict(size="L", drop_path=0.2), (192, 384, 768, 1536)),
}


def backbone_config(name, **settings):
    return ConfigDict(dict(name=name, width=64, remat=False) | settings)


def test_pixels_are_normalised_and_zero_outside_of_the_picture():
    """(0 - 123.675) / 58.395 is what a black pixel's red becomes; outside of 3 x 5 pixels it is 0 all the same."""
    batch = people_batch(people=(0, 0), size=(8, 8))
    sizes = np.array([[3, 5], [8, 8]], np.int32)
    batch = dataclasses.replace(batch, image=np.zeros((2, 8, 8, 3), np.uint8), valid_size=sizes)
    black = [(0 - 123.675) / 58.395, (0 - 116.28) / 57.12, (0 - 103.53) / 57.375]
    out = np.asarray(normalise(batch, FLOAT32))
    assert np.allclose(out[0, :3, :5], black)
    assert np.allclose(out[1], black)
    assert np.count_nonzero(out[0].any(-1)) == 15


@pytest.mark.parametrize("name", TRUNKS)
def test_maps_have_strides_4_to_32(name):
    """Shapes alone: nothing is computed."""
    settings, channels_of = TRUNKS[name]
    config = backbone_config(name.split()[0], **settings)
    backbone = nnx.eval_shape(lambda: Backbone(config, FLOAT32, Keys(jax.random.key(0))))
    graphdef, state = nnx.split(backbone)
    pictures = jax.ShapeDtypeStruct((2, 64, 96, 3), FLOAT32)

    def run(state, pictures):
        model = nnx.merge(graphdef, state)
        maps = model.trunk(pictures, train=False)
        return maps, model.pyramid(maps)

    maps, pyramid = jax.eval_shape(run, state, pictures)
    sizes = [(2, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    assert [x.shape for x in maps] == [(*size, channels) for size, channels in zip(sizes, channels_of, strict=True)]
    assert [x.shape for x in pyramid] == [(*size, 64) for size in sizes]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(name="resnext"), "name='resnext' is unknown; known: resnet, hrnet, swin, small"),
        (dict(depth=34), "depth=34 is unknown for resnet; known: 50, 101"),
        (dict(name="hrnet", branch_width=18), "branch_width=18 is unknown for hrnet; known: 32, 48"),
        (dict(name="hrnet", branch_width=32, pyramid="v2"), "pyramid='v2' is unknown for hrnet; known: plain, v1"),
        (dict(name="swin", size="S"), "size='S' is unknown for swin; known: T, B, L"),
        (dict(name="swin", size="T", drop_path=1.0), "drop_path=1.0 must be at least 0 and less than 1"),
    ],
)
def test_an_unknown_backbone_is_named_in_one_line(change, message):
    config = backbone_config(**(dict(name="resnet", depth=50) | change))
    with pytest.raises(UserError) as error:
        nnx.eval_shape(lambda: Backbone(config, FLOAT32, Keys(jax.random.key(0))))
    assert str(error.value) == f"config.model.backbone.{message}"
