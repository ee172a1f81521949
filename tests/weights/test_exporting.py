"""An export holds what a released file holds, name for name, and comes back unchanged."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.backbones.unapplied import relative_position_index
from querypose_jax.checkpoints.checkpoint import load_model, save_model
from querypose_jax.models.querypose.params import KNOWINGLY_UNUSED
from querypose_jax.models.querypose.released import unapplied
from querypose_jax.models.registry import build_model
from querypose_jax.weights.command import main
from querypose_jax.weights.official import from_official
from tests import tiny_run
from tests.parity import goldens
from tests.weights.states import hollow, random_state, small_head
from tests.weights.test_importing import CONFIG, equal


@pytest.mark.slow
def test_import_and_export_are_each_others_inverse(tmp_path, capsys):
    state = random_state(small_head())
    save_model(tmp_path / "run", small_head(), from_official(state, small_head()))
    path = tmp_path / "ours.safetensors"
    assert main(["weights", "--to=official", f"--input={tmp_path / 'run'}", f"--output={path}"]) == 0
    assert f"{len(state)} tensors and 5 that the released code stores and never reads" in capsys.readouterr().out
    written = safetensors.numpy.load_file(path)
    assert all(np.array_equal(written[name], state[name]) for name in state)
    assert all(KNOWINGLY_UNUSED.search(name) for name in written.keys() - state.keys())
    back = tmp_path / "back"
    assert main(["weights", "--source=official", f"--input={path}", CONFIG, f"--output={back}"]) == 0
    equal(load_model(back)[2], from_official(state, small_head()))


def complete(path: Path) -> None:
    """The applied names of a manifest, and what the export adds to them, are the names and shapes of the manifest."""
    named = {name: tuple(shape) for name, shape in json.loads(path.read_text())["shapes"].items()}
    applied = hollow({name: shape for name, shape in named.items() if not KNOWINGLY_UNUSED.search(name)})
    added = {name: x.shape for name, x in unapplied(applied).items()}
    assert {name: x.shape for name, x in applied.items()} | added == named


@pytest.mark.parametrize("path", goldens.by_name(sorted(goldens.FOLDER.glob("manifest_*.json")), "head manifest"))
def test_the_export_of_a_head_has_every_name_of_its_manifest(path):
    complete(path)


@pytest.mark.parametrize("path", goldens.by_name(sorted(goldens.FOLDER.glob("backbone_manifest_*.json")), "manifest"))
def test_the_export_of_a_backbone_has_every_name_of_its_manifest(path):
    complete(path)


def test_constants_of_the_export_are_those_of_the_released_code():
    mask = unapplied({f"criterion.flow.flow.s.{k}.0.weight": np.zeros((8, 2)) for k in range(4)})
    np.testing.assert_array_equal(mask["criterion.flow.flow.mask"], [[0, 1], [1, 0], [0, 1], [1, 0]])
    index = relative_position_index(2)  # tokens (0,0) (0,1) (1,0) (1,1); row (dy + 1) * 3 + dx + 1, query minus key
    np.testing.assert_array_equal(index, [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])


def test_what_cannot_be_exported_is_one_line(tmp_path, capsys):
    config = tiny_run.get_config()
    save_model(tmp_path / "tiny", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    for run, file, message in [
        ("tiny", "out.safetensors", "name='small' has no official weights to exchange with"),
        ("tiny", "out.pth", "an export ends with .safetensors"),
        ("nothing", "out.safetensors", "nothing.*name the folder of a run"),
    ]:
        arguments = ["weights", "--to=official", f"--input={tmp_path / run}", f"--output={tmp_path / file}"]
        assert main(arguments) == 2
        assert re.fullmatch(f"error: [^\n]*{message}[^\n]*\n", capsys.readouterr().err)
        assert not (tmp_path / file).exists()
