"""From a file to a checkpoint, through the command line: what fits is all there, what does not costs one line."""

import json
import os
import pickle
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.checkpoints.checkpoint import load_model, named_leaves
from querypose_jax.checkpoints.start import start_from
from querypose_jax.errors import UserError
from querypose_jax.models.registry import build_model
from querypose_jax.weights.command import main
from querypose_jax.weights.formats import WeightsFile
from querypose_jax.weights.importing import checked, fit
from querypose_jax.weights.official import from_official
from querypose_jax.weights.sources import TRUNK
from tests.weights import states
from tests.weights.states import hollow, random_state, shapes, small_head
from tests.weights.test_pickles import Hostile

CONFIG = f"--config={states.__file__}"


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """A complete state dict of a ResNet-50 with a small head."""
    return random_state(small_head())


@pytest.fixture
def fails(capsys, tmp_path):
    """Runs a command that must fail with one line and leave nothing; returns the line."""

    def check(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(["weights", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch("error: [^\n]+\n", err)
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return check


def write(path: Path, state: dict[str, np.ndarray]) -> Path:
    safetensors.numpy.save_file({name: np.ascontiguousarray(x) for name, x in state.items()}, path)
    return path


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, named_leaves(a), named_leaves(b))


def test_a_whole_checkpoint_becomes_a_whole_model(state, tmp_path, capsys):
    extra = {
        "head.pose_head_series.0.updater.fc3.weight": np.ones((16, 16), np.float32),
        "head.pose_head_series.0.part_embed_generator.upsample.1.num_batches_tracked": np.int64(5).reshape(()),
    }
    path = write(tmp_path / "model.safetensors", state | extra)
    assert main(["weights", "--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"]) == 0
    config, _, loaded = load_model(tmp_path / "out")
    assert config == small_head()
    equal(loaded, from_official(state, small_head()))
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert report["whole_model"]
    assert sorted(report["used"]) == sorted(state)
    assert sorted(report["unused"]) == sorted(extra)
    printed = capsys.readouterr().out
    assert report["sha256"] in printed
    assert f"{len(state)} used" in printed
    assert "2 known to be unused" in printed
    assert "holds the whole model" in printed


def test_the_file_of_a_trunk_starts_a_model_whose_head_stays_random(state, tmp_path, capsys):
    trunk = {name.removeprefix(TRUNK): x for name, x in state.items() if name.startswith(TRUNK)}
    content = {"model": trunk | {"stem.fc.bias": np.zeros(1000, np.float32)}, "__author__": "torchvision"}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(content))
    assert main(["weights", "--source=detectron2", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    assert "a part of the model: start from it with --config.init_from" in printed
    assert "not read, beside the weights: __author__" in printed
    before = nnx.state(build_model(small_head(), rngs=nnx.Rngs(3)))
    after, table, _ = start_from(tmp_path / "out", small_head(), before)
    expected = from_official(state, small_head())
    equal(after["backbone"]["trunk"], expected["backbone"]["trunk"])
    equal(after["backbone"]["pyramid"], before["backbone"]["pyramid"])
    equal(after["box_decoders"], before["box_decoders"])
    assert not any(name.startswith("backbone.trunk.") for name in table.drawn)
    with pytest.raises(UserError, match="holds a part of this model only .*init_from"):
        load_model(tmp_path / "out")


def test_what_allow_missing_names_may_differ_and_is_reported(state, tmp_path, capsys):
    other = {name: x for name, x in state.items() if not name.startswith("criterion.")}
    other["init_proposal_boxes.weight"] = np.zeros((9, 4), np.float32)
    other["teacher.weight"] = np.zeros(3, np.float32)
    path = write(tmp_path / "model.safetensors", other)
    arguments = ["weights", "--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "names are missing: criterion.flow" in error
    assert "1 shapes differ: init_proposal_boxes.weight (9, 4) instead of (4, 4)" in error
    assert "1 names are not part of this model: teacher.weight" in error
    assert main([*arguments, "--allow-missing=^criterion|proposal_boxes"]) == 2
    assert "error: " + str(path) + ": 1 names are not part of this model" in capsys.readouterr().err
    assert main([*arguments, "--allow-missing=^criterion|proposal_boxes|teacher"]) == 0
    allowed = json.loads((tmp_path / "out" / "import.json").read_text())["allowed"]
    assert allowed["names are not part of this model"] == ["teacher.weight"]
    assert "1 shapes differ, as --allow-missing says: init_proposal_boxes.weight" in capsys.readouterr().out
    before = nnx.state(build_model(small_head(), rngs=nnx.Rngs(3)))
    _, table, _ = start_from(tmp_path / "out", small_head(), before)
    assert {name.split(".")[0] for name in table.drawn} == {"flow", "proposal_boxes"}


def test_a_file_that_does_not_hold_weights_for_the_config_is_one_line(state, tmp_path, fails):
    spoilt = dict(state)
    spoilt[f"{TRUNK}res3.1.conv2.weight"] = np.full_like(state[f"{TRUNK}res3.1.conv2.weight"], np.inf)
    spoilt[f"{TRUNK}res3.1.conv2.weight"].flat[1:] = 0
    path = write(tmp_path / "inf.safetensors", spoilt)
    line = fails("--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}")
    assert f"1 of 147456 numbers of {TRUNK}res3.1.conv2.weight are NaN or infinite" in line
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    line = fails("--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}")
    assert "not a whole .safetensors file" in line


def test_a_pickle_that_runs_code_leaves_nothing(tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": Hostile(os.system, "touch ran")}))
    line = fails("--source=detectron2", "--input=R-50.pkl", CONFIG, "--output=out")
    assert "could run code; not read" in line


def test_wrong_arguments_are_one_line(state, tmp_path, fails):
    path = write(tmp_path / "a.safetensors", {"w": np.zeros(2, np.float32)})
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for arguments, message in [
        (["--source=official", f"--input={path}", CONFIG], "--output is missing"),
        (["--to=official", f"--input={path}"], "--output is missing"),
        (["--source=official", f"--input={path}", f"--output={tmp_path / 'out'}"], "no pose model that is known here"),
        (["--source=keras", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"], "--source=keras"),
        ([f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"], "no weights of ResNet-50 in it, its names are w"),
        (["--source=official", "--to=official", f"--input={path}", CONFIG, f"--output={full}"], "either --source"),
        (["--source=official", f"--input={path}", CONFIG, f"--output={full}"], "full is there already"),
        (["--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}", "--allow-missing=("], r"\("),
        (["--source=official", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"], "names are w; is --source"),
        (["--source=hrnet", f"--input={path}", CONFIG, f"--output={tmp_path / 'out'}"], "use official, detectron2"),
    ]:
        assert re.search(message, fails(*arguments))


def why(file: dict[str, np.ndarray], source: str, config) -> str:
    """What is said about a file that does not fit."""
    with pytest.raises(UserError) as caught:
        fit(Path("FILE.pth"), WeightsFile(file, [], ""), source, config, None)
    return str(caught.value)


def test_a_light_checkpoint_for_a_full_config_is_called_that_and_the_other_way_round():
    full, light = small_head(), small_head()
    light.model.light = True
    assert why(hollow(shapes(light)), "official", full) == (
        "FILE.pth: these are weights of the light version, the config asks for the full one; "
        "add --config.model.light=True"
    )
    assert "weights of the full version, the config asks for the light one" in why(
        hollow(shapes(full)), "official", light
    )


@pytest.mark.slow
def test_another_trunk_is_called_by_its_name():
    hrnet = small_head(name="hrnet", branch_width=32, pyramid="plain")
    file = hollow(shapes(hrnet))
    assert why(file, "official", small_head()) == (
        "FILE.pth: these are weights of HRNet-W32, the config asks for ResNet-50; take the config of HRNet-W32"
    )
    hrnet.model.backbone.pyramid = "v1"
    assert why(file, "official", hrnet) == (
        "FILE.pth: these are weights with HRNet's plain pyramid; add --config.model.backbone.pyramid=plain"
    )
    swin = hollow({"features.0.0.weight": (96, 3, 4, 4), "features.1.0.norm1.weight": (96,)})
    assert "weights of Swin-" in why(swin, "torchvision", small_head())
    deeper = hollow({f"res4.{block}.conv{k}.weight": () for block in range(23) for k in (1, 3)})
    assert "weights of ResNet-101, the config asks for ResNet-50" in why(deeper, "detectron2", small_head())


def test_numbers_are_converted_to_float32_if_that_keeps_them():
    same = checked(Path("f"), {"a": np.float64([1.5]), "b": np.float16([0.5])})
    assert {x.dtype for x in same.values()} == {np.dtype(np.float32)}
    with pytest.raises(UserError, match="1 of 2 numbers of a are NaN or infinite"):
        checked(Path("f"), {"a": np.float64([1e300, 0])})
    with pytest.raises(UserError, match="a holds int64, not floating-point numbers"):
        checked(Path("f"), {"a": np.int64([1])})
