"""A released SimplePose V2 goes in as torch wrote it and comes out with every name; CenterNet's trunk is a start."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.checkpoints.checkpoint import fill_weights, load_model, load_weights, named_leaves
from querypose_jax.models.registry import build_model
from querypose_jax.weights.command import main
from querypose_jax.weights.official import from_official
from tests.weights import simplepose_config, torch_files

CONFIG = f"--config={simplepose_config.__file__}"


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    """The state dict of the manifest, counters included, every number different."""
    manifest = json.loads(simplepose_config.MANIFEST.read_text())
    rng = np.random.default_rng(0)
    state = {name: rng.random(shape, np.float32) for name, shape in manifest["shapes"].items()}
    return state | {name: np.int64(7).reshape(()) for name in manifest["counters"]}


def checkpoint(state: dict[str, np.ndarray]) -> bytes:
    """As the release saves it: names of the parallel wrapper, the optimizer's state beside them."""
    weights = {f"module.{name}": x for name, x in state.items()}
    moments = {"state": {0: {"exp_avg": np.zeros(3, np.float32)}}, "param_groups": [{"lr": 1e-4}]}
    return torch_files.save(
        {"epoch": 77, "train_loss": 1.5, "model_state_dict": weights, "optimizer_state_dict": moments, "amp": {}}
    )


def test_a_released_file_goes_in_and_out_unchanged(released, tmp_path, capsys):
    path, run, back = tmp_path / "coco.pth", tmp_path / "run", tmp_path / "back.safetensors"
    path.write_bytes(checkpoint(released))
    assert main(["weights", "--source=official", f"--input={path}", CONFIG, f"--output={run}"]) == 0
    printed = capsys.readouterr().out
    counters = [name for name in released if name.endswith("num_batches_tracked")]
    assert f"{len(released) - len(counters)} used" in printed
    assert f"{len(counters)} known to be unused" in printed
    assert "holds the whole model" in printed
    assert main(["weights", "--to=official", f"--input={run}", f"--output={back}"]) == 0
    written = safetensors.numpy.load_file(back)
    assert written.keys() == released.keys()
    assert all(np.array_equal(written[name], released[name]) for name in released if name not in counters)


def test_a_file_that_lacks_a_name_is_one_line(released, tmp_path, capsys):
    """The release fills the gap with random numbers and says nothing."""
    gone = "headnets.0.hp_convs.1.weight"
    path = tmp_path / "coco.pth"
    path.write_bytes(checkpoint({name: x for name, x in released.items() if name != gone}))
    assert main(["weights", "--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'run'}"]) == 2
    assert f"1 names are missing: {gone}" in capsys.readouterr().err


def test_centernets_file_starts_the_hourglass_and_the_heads_stay_random(released, tmp_path, capsys):
    trunk = {name.removeprefix("basenet."): x for name, x in released.items() if name.startswith("basenet.")}
    heads = {"hm.0.0.conv.weight": np.ones((2, 2), np.float32), "hp_offset.1.1.bias": np.ones(2, np.float32)}
    path = tmp_path / "multi_pose_hg_3x.pth"
    path.write_bytes(torch_files.save({"epoch": 150, "state_dict": trunk | heads}))
    arguments = ["weights", "--source=centernet", f"--input={path}", CONFIG, f"--output={tmp_path / 'run'}"]
    assert main(arguments) == 0
    assert "a part of the model: start from it with --config.init_from" in capsys.readouterr().out
    config = simplepose_config.get_config()
    before = nnx.state(build_model(config, rngs=nnx.Rngs(3)))
    loaded = load_weights(tmp_path / "run", before)
    after, untouched = fill_weights(before, loaded), set(named_leaves(before)) - set(loaded)
    expected = from_official({name: x for name, x in released.items() if "tracked" not in name}, config)
    theirs = named_leaves(expected["network"]["backbone"]), named_leaves(after["network"]["backbone"])
    jax.tree.map(np.testing.assert_array_equal, *theirs)
    assert {name.split(".")[1] for name in untouched} == {"heatmaps", "offsets"}
    with pytest.raises(Exception, match="holds a part of this model only"):
        load_model(tmp_path / "run")
