"""PyTorch gives the same results: of what is exported here, and of what its libraries hold and is imported here.

Needs torch; the first test an independent PyTorch implementation in QUERYPOSE_PEER, the second torchvision and timm.
"""

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.backbones.backbone import normalise
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.checkpoints.start import start_from
from querypose_jax.models.registry import abstract_model, build_model
from querypose_jax.structures import Batch
from querypose_jax.weights.command import main
from querypose_jax.weights.official import from_official
from tests.parity import goldens
from tests.parity.goldens import assert_close
from tests.weights import states
from tests.weights.states import shapes, small_head


@pytest.fixture(scope="module")
def peer(torch):
    """Loads a file of the PyTorch implementation by name."""
    folder = Path(os.environ.get("QUERYPOSE_PEER") or "nowhere")
    if not folder.is_dir():
        pytest.skip("QUERYPOSE_PEER names no folder: no PyTorch implementation to compare with")

    def load(name: str):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


def pictures(height: int, width: int) -> np.ndarray:
    """Two pictures of noise, uint8 [2, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def picture_batch(height: int, width: int) -> Batch:
    """The same pictures as a batch without people."""
    sizes = np.array([(height, width)] * 2, np.int32)
    people = np.zeros(2), np.zeros((2, 0, 4)), np.zeros((2, 0, 17, 3))
    batch = goldens.people_batch(sizes, sizes, *people, "float32")
    return dataclasses.replace(batch, image=jnp.asarray(pictures(height, width)))


@pytest.mark.slow
def test_pytorch_evaluates_what_is_exported(torch, peer, tmp_path):
    config = small_head()
    state = goldens.weights().make_all(shapes(config))
    graphdef, _ = abstract_model(config)
    weights = jax.tree.map(jnp.asarray, from_official(state, config))
    save_model(tmp_path / "run", config, weights)
    path = tmp_path / "ours.safetensors"
    assert main(["weights", "--to=official", f"--input={tmp_path / 'run'}", f"--output={path}"]) == 0

    head, backbones = peer("querypose_torch"), peer("backbones_torch")
    written = {name: torch.from_numpy(x) for name, x in safetensors.numpy.load_file(path).items()}
    ours = jax.jit(lambda weights, batch: nnx.merge(graphdef, weights)(batch))(weights, picture_batch(64, 96))

    theirs = head.HeadConfig(
        num_proposals=4, stages=1, dim=16, nheads=2, ffn=16, dim_dynamic=4, part_dim=16, num_convs=1, flow_layers=2,
        flow_hidden=8,
    )  # fmt: skip
    assert {n for n in written if not n.startswith("backbone.")} == set(head.param_shapes(theirs))
    images = torch.stack([backbones.normalise(picture) for picture in pictures(64, 96)])
    maps = backbones.forward("r50_fpn", written, images)
    out = head.forward(written, theirs, [maps[f"p{level}"] for level in (2, 3, 4, 5)], [(64, 96), (64, 96)])
    assert_close(ours.logits, np.stack([x.numpy() for x in out["logits"]]), relative=1e-4, what="logits")
    assert_close(ours.boxes, np.stack([x.numpy() for x in out["boxes"]]), relative=1e-4, what="boxes")
    assert_close(
        ours.xy.reshape(1, 8, 17, 2), np.stack([x[..., :2].numpy() for x in out["pose"]]), relative=1e-3, what="poses"
    )


def library_maps(torch, source: str, name: str, images: np.ndarray) -> tuple[dict, list[np.ndarray]]:
    """State dict of an untrained model of torchvision or timm (with unlike batch-norm statistics), its maps C2..C5."""
    pytest.importorskip("torchvision", reason="torchvision is not installed: nothing to compare with")
    torch.manual_seed(0)
    side = images.shape[1]
    if source == "torchvision":
        from torchvision import models

        model = getattr(models, name)(weights=None)
    else:
        timm = pytest.importorskip("timm", reason="timm is not installed")
        model = timm.create_model(name, pretrained=False, **({"img_size": side} if "swin" in name else {}))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        model.eval()
        if name.startswith("resnet"):
            x = torch.nn.functional.max_pool2d(torch.relu(model.bn1(model.conv1(x))), 3, 2, 1)
            maps = []
            for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
                x = layer(x)
                maps.append(x)
        elif name.startswith("hrnet"):
            maps = model.stages(model.act2(model.bn2(model.conv2(model.act1(model.bn1(model.conv1(x)))))))
        elif source == "timm":
            maps = [x.permute(0, 2, 3, 1) for x in model.forward_intermediates(x, intermediates_only=True)]
            maps = [torch.nn.functional.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2) for x in maps]
        else:
            maps = []
            for part, layer in enumerate(model.features):
                x = layer(x)
                if part in (1, 3, 5, 7):
                    maps.append(torch.nn.functional.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2))
    return model.state_dict(), [x.numpy().transpose(0, 2, 3, 1) for x in maps]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "name", "side", "backbone"),
    [
        ("torchvision", "resnet50", 96, {"name": "resnet", "depth": 50}),
        ("timm", "resnet101", 96, {"name": "resnet", "depth": 101}),
        ("timm", "hrnet_w32", 96, {"name": "hrnet", "branch_width": 32, "pyramid": "plain"}),
        ("torchvision", "swin_t", 448, {"name": "swin", "size": "T"}),
        ("timm", "swin_tiny_patch4_window7_224", 448, {"name": "swin", "size": "T"}),
    ],
)  # Swin on a large picture: where one window covers a map, the released code shifts it and the libraries do not
def test_an_imported_trunk_gives_the_maps_of_its_library(torch, tmp_path, source, name, side, backbone):
    config = small_head(**backbone)
    images = np.array(normalise(picture_batch(side, side), jnp.dtype("float32")))
    state, expected = library_maps(torch, source, name, images)
    torch.save(state, tmp_path / "trunk.pth")
    overrides = [f"--config.model.backbone.{key}={value}" for key, value in backbone.items()]
    arguments = [f"--source={source}", f"--input={tmp_path / 'trunk.pth'}", f"--config={states.__file__}", *overrides]
    assert main(["weights", *arguments, f"--output={tmp_path / 'out'}"]) == 0
    graphdef, fresh = nnx.split(build_model(config, rngs=nnx.Rngs(0)))
    loaded, _, _ = start_from(tmp_path / "out", config, fresh)
    maps = jax.jit(lambda state, x: nnx.merge(graphdef, state).backbone.trunk(x, False))(loaded, images)
    for level, (ours, theirs) in enumerate(zip(maps, expected, strict=True), 2):
        assert_close(ours, theirs, relative=1e-4, what=f"C{level}")
