"""SimplePose's maps and running statistics equal the reference, and so do the names and shapes of its parameters."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.backbones.backbone import normalise
from querypose_jax.errors import UserError
from querypose_jax.models.simplepose.params import KNOWINGLY_UNUSED
from querypose_jax.skeletons import COCO, CROWDPOSE
from querypose_jax.structures import Batch
from querypose_jax.weights.official import from_official, to_official
from tests.parity import goldens
from tests.parity.goldens import Golden, assert_close
from tests.parity.simplepose import (
    COMPILED_SOON,
    abstract_network,
    channels_first,
    experiment,
    network,
    network_names,
    offsets_first,
)

TOLERANCE = {  # relative to the largest value
    ("eval", "float64"): 1e-6,
    ("train", "float64"): 1e-6,
    ("eval", "float32"): 2e-5,
    ("train", "float32"): 2e-4,
}
LARGEST_FILLED = 10_000_000  # parameters
STATISTICS = {"float64": 1e-6, "float32": 1e-4}


def picture_batch(pictures: np.ndarray) -> Batch:
    """Pictures without people that fill their canvas."""
    count, *size = pictures.shape[:3]
    sizes = np.tile(np.array(size, np.int32), (count, 1))
    affine = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    nobody = np.zeros((count, 1), np.int32)
    batch = Batch(
        image=pictures,
        valid_size=sizes,
        orig_size=sizes,
        image_id=np.arange(count, dtype=np.int32),
        inv_affine=affine,
        boxes=np.zeros((count, 1, 4), np.float32),
        keypoints=np.zeros((count, 1, 1, 3), np.float32),
        area=nobody.astype(np.float32),
        label=nobody,
        is_person=nobody.astype(bool),
    )
    return jax.tree.map(jnp.asarray, batch)


def network_files() -> list:
    """A small network with a scale head shows all there is in the fast tier; the others are slow."""
    marked = []
    for parameter in goldens.files("sp_network"):
        path = parameter.values[0]
        theirs = goldens.metas()[path]["config"] if path else {"dims": [0], "scale_head": True}
        slow = theirs["dims"][0] >= 128 or not theirs["scale_head"]
        marked.append(pytest.param(path, id=parameter.id, marks=[*parameter.marks, *[pytest.mark.slow] * slow]))
    return marked


@goldens.float32_is_slow
@pytest.mark.parametrize("path", network_files())
def test_maps_and_running_statistics_equal_reference(path, dtype, record_property):
    golden = Golden(path)
    config = experiment(golden.meta["config"], dtype)
    graphdef, state = nnx.split(network(config, golden.meta["weights_tag"]))
    modes = [mode for mode in ("eval", "train") if f"{mode}_heatmaps" in golden]
    assert modes

    @functools.partial(jax.jit, compiler_options=COMPILED_SOON)
    def run(state, batch):
        outputs = {}
        for mode in modes:
            model = nnx.merge(graphdef, state, copy=True)
            outputs[mode] = model(normalise(batch, jnp.dtype(dtype)), train=mode == "train")
        return outputs, nnx.state(model, nnx.BatchStat)

    outputs, statistics = run(state, picture_batch(golden["pictures"]))
    for mode in modes:
        check_maps(golden, mode, outputs[mode], TOLERANCE[mode, dtype], record_property)
    if golden.names("bn/"):
        check_statistics(golden, statistics, network_names(config), STATISTICS[dtype])


def check_maps(golden, mode, maps, tolerance, record_property):
    """Every map that the golden stores, and means and deviations of all channels."""
    found = {"heatmaps": channels_first(maps.heatmaps), "offsets": offsets_first(maps.offsets)}
    if maps.scales is not None:
        found["scales"] = channels_first(maps.scales)
    stored = {name.split("_")[1] for name in golden.names(f"{mode}_")}
    assert stored == set(found)
    for kind, ours in found.items():
        ours = ours[golden.meta["stacks_stored"]]
        step = golden.meta["offset_channel_step"] if kind == "offsets" else 1
        name = f"{mode}_{kind}"
        limit = tolerance * np.abs(golden[name]).max()
        difference = assert_close(ours[:, :, ::step], golden[name], limit, what=name)
        assert_close(ours.mean((-2, -1)), golden[f"{name}_mean"], limit, what=f"{name}_mean")
        assert_close(ours.std((-2, -1)), golden[f"{name}_std"], limit, what=f"{name}_std")
        record_property(name, difference / np.abs(golden[name]).max())


def check_statistics(golden, statistics, names, tolerance):
    ours = {names[path].names[0]: leaf[...] for path, leaf in nnx.to_flat_state(statistics)}
    stored = {name.removeprefix("bn/") for name in golden.names("bn/")}
    assert stored == set(ours)
    for name, value in ours.items():
        assert_close(value, golden[f"bn/{name}"], relative=tolerance, what=name)


def manifests() -> list:
    return goldens.by_name(sorted(goldens.FOLDER.glob("sp_manifest_*.json")), "manifest of a SimplePose")


@pytest.mark.parametrize("path", manifests())
def test_every_name_of_a_manifest_has_its_place_or_is_known_to_be_unused(path: Path):
    manifest = json.loads(path.read_text())
    config = experiment(manifest["config"], "float32")
    state, names = nnx.state(abstract_network(config)), network_names(config)
    flat = dict(nnx.to_flat_state(state))
    ours = {}
    for place, leaf in flat.items():
        tensors = names[place].to_official(np.broadcast_to(np.int8(0), leaf.shape))
        ours.update(zip(names[place].names, (list(tensor.shape) for tensor in tensors), strict=True))
    assert set(names) == set(flat), "no name without a variable"
    assert ours == manifest["shapes"]
    trained = {name for place, _ in nnx.to_flat_state(nnx.state(state, nnx.Param)) for name in names[place].names}
    assert trained == set(manifest["shapes"]) - set(manifest["buffers"])
    assert all(KNOWINGLY_UNUSED.search(name) for name in manifest["counters"])
    assert sum(np.prod(ours[name]) for name in trained) == manifest["num_parameters"]


@pytest.mark.parametrize("path", manifests())
def test_directed_limbs_of_known_skeletons_are_those_of_the_release(path: Path):
    theirs = json.loads(path.read_text())["config"]
    known = [s for s in (COCO, CROWDPOSE) if list(s.names) == theirs["joints"]]
    if not known:
        pytest.skip("joints of neither COCO nor CrowdPose")
    assert known[0].limbs == tuple(map(tuple, theirs["limbs"]))


@pytest.mark.parametrize("path", manifests())
def test_a_whole_state_dict_goes_in_and_out_and_a_missing_name_fails(path: Path):
    manifest = json.loads(path.read_text())
    if manifest["num_parameters"] > LARGEST_FILLED:
        pytest.skip("as large as the released ones, of which names and shapes are compared")
    config = experiment(manifest["config"], "float32")
    generator = np.random.default_rng(0)
    tensors = {name: generator.random(shape, np.float32) for name, shape in manifest["shapes"].items()}
    state = from_official(tensors | dict.fromkeys(manifest["counters"], np.zeros((), np.int64)), config)
    back = to_official(state, config)
    assert back.keys() == tensors.keys()
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)
    gone = next(iter(tensors))
    del tensors[gone]
    with pytest.raises(UserError, match=f"1 names are missing: {gone}"):
        from_official(tensors, config)
