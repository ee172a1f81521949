"""A file of weights becomes an import in the user's cache: once, whole or not at all, and a Predictor from it."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from configs.simplepose import synthetic_tiny
from querypose_jax.checkpoints.checkpoint import load_model, named_leaves, save_model
from querypose_jax.checkpoints.names import Names, saved_names
from querypose_jax.checkpoints.origin import read_origin
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import abstract_model
from querypose_jax.runs import predict
from querypose_jax.skeletons import COCO
from querypose_jax.weights import cache, importing
from querypose_jax.weights.cache import imported
from querypose_jax.weights.exporting import export_weights
from querypose_jax.weights.formats import checksum
from querypose_jax.weights.official import to_official
from tests.weights import torch_files


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a small SimplePose, evaluated."""
    folder, config = tmp_path_factory.mktemp("runs") / "run", synthetic_tiny.get_config()
    rng = np.random.default_rng(0)
    shapes = abstract_model(config)[1]
    state = jax.tree.map(lambda x: jax.numpy.asarray(np.abs(rng.normal(0.1, 0.1, x.shape)), x.dtype), shapes)
    save_model(folder, config, state, names={"classes": ("person",), "joints": COCO.names})
    tuned = {"score": 0.35, "precision": 0.9, "recall": 0.8, "f1": 0.85, "people": 30}
    write_json(folder / "eval" / "0" / "metrics.json", {f"threshold/{name}": x for name, x in tuned.items()})
    return folder


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    """The same as an export."""
    path = tmp_path_factory.mktemp("files") / "exported.safetensors"
    export_weights(run, path)
    return path


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, named_leaves(a), named_leaves(b))


def test_a_file_is_imported_once_under_its_checksum_and_found_again(file, run, tmp_path, monkeypatch):
    folder, lines = imported(file)
    assert folder == tmp_path / "cache" / "querypose_jax" / "weights" / checksum(file)
    assert any("an export of this library, simplepose" in line for line in lines)
    equal(load_model(folder)[2], load_model(run)[2])
    assert load_model(folder)[0] == synthetic_tiny.get_config()
    monkeypatch.setattr(cache, "import_weights", None)
    assert imported(file) == (folder, [])


def test_what_the_file_says_of_itself_travels_with_the_import(file):
    folder, _ = imported(file)
    origin = read_origin(folder)
    assert origin["file"] == "exported.safetensors"
    assert origin["sha256"] == checksum(file)
    assert origin["name"] == "simplepose, trained from scratch on synthetic"
    assert origin["threshold"]["score"] == 0.35
    assert saved_names(folder) == Names(("person",), COCO.names)


def test_an_import_that_fails_leaves_nothing(file, tmp_path, monkeypatch):
    def full(*told):
        raise OSError("no space left on device")

    monkeypatch.setattr(importing, "write_origin", full)
    with pytest.raises(OSError, match="no space"):
        imported(file)
    assert not list((tmp_path / "cache").rglob("*.json"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert imported(file)[1]


def test_an_import_of_an_earlier_version_is_made_anew(file):
    folder, _ = imported(file)
    config = json.loads((folder / "config.json").read_text())
    del config["init_map"]
    (folder / "config.json").write_text(json.dumps(config))
    assert imported(file)[1]
    assert load_model(folder)[0] == synthetic_tiny.get_config()


def test_two_processes_that_import_at_once_end_with_one_import(file, monkeypatch):
    def late(*told):
        importing.import_weights(*told)  # the other one is through
        raise OSError("directory not empty")

    monkeypatch.setattr(cache, "import_weights", late)
    folder, lines = imported(file)
    assert lines == []
    assert load_model(folder)


def wrapped(state: dict[str, np.ndarray], kind: str) -> dict:
    """A state dict as training scripts save it."""
    prefixed = {f"module.{name}": x for name, x in state.items()}
    beside = {
        "optimizer": {"state": {0: {"exp_avg": np.ones(3, np.float32)}}, "param_groups": [{"lr": 1e-4}]},
        "epoch": 77,
    }
    return {
        "flat": state,
        "module": prefixed,
        "model": {"model": state, "ema_model": {name: x + 1 for name, x in state.items()}, **beside},
        "model_state_dict": {"epoch": 77, "train_loss": 0.1, "model_state_dict": prefixed, "amp": {"scale": 2.0}},
        "ema_model": {"ema_model": state, **beside},
        "half": {"model": {name: x.astype(np.float16) for name, x in state.items()}},
    }[kind]


def slow(kind: str):
    return pytest.param(kind, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["model", "half", *map(slow, ("flat", "module", "model_state_dict", "ema_model"))])
def test_the_wrappings_of_training_scripts_are_seen_through(kind, run, tmp_path):
    config, _, state = load_model(run)
    path = tmp_path / f"{kind}.pth"
    path.write_bytes(torch_files.save(wrapped(to_official(state, config), kind)))
    with pytest.raises(UserError, match="of sizes that nobody has published"):
        imported(path)
    folder, _ = imported(path, config)
    loaded = load_model(folder)[2]
    if kind == "half":
        state = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), state)
    equal(loaded, state)


def test_one_file_taken_for_two_models_is_two_imports(run, tmp_path):
    config, _, state = load_model(run)
    path = tmp_path / "a.pth"
    path.write_bytes(torch_files.save(to_official(state, config)))
    other = config.copy_and_resolve_references()
    other.model.dtype = "bfloat16"
    assert imported(path, config)[0] != imported(path, other)[0]


@pytest.mark.slow
def test_a_predictor_from_a_file_finds_what_that_of_the_run_finds_and_says_whose_it_is(file, run, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    ours, theirs = Predictor.from_weights(file), Predictor.from_checkpoint(run)
    found, expected = ours(picture, 0), theirs(picture, 0)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    assert ours.threshold.score == theirs.threshold.score == 0.35
    assert "tuned there" in theirs.threshold.reason and ours.threshold.reason == theirs.threshold.reason
    assert theirs.origin is None and ours.origin["publisher"] == "whoever trained it with querypose_jax"


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "drawn"])
def draws(request, monkeypatch) -> bool:
    """Whether poses are looked for and drawn, which compiles."""
    if not request.param:
        monkeypatch.setattr(predict, "predict_input", lambda *told: "done")
    return request.param


def test_the_command_line_takes_a_file_in_place_of_a_run_and_says_terms_and_threshold_once(
    file, draws, tmp_path, capsys
):
    Image.new("RGB", (160, 120), (90, 120, 150)).save(tmp_path / "photo.jpg")
    command = ["launch.py", "--mode=predict", f"--weights={file}", f"--input={tmp_path}/photo.jpg"]
    assert launch.main([*command, f"--output={tmp_path}/poses"]) == 0
    out = capsys.readouterr().out
    assert out.count("terms: theirs to say") == 2  # of the import, of the prediction
    tuned = "best F1 (0.85 at step 0) on 30 people of the split val of synthetic; it was tuned there"
    assert out.count(f"threshold 0.35: {tuned}") == 1
    assert (tmp_path / "poses" / "photo.jpg").is_file() == draws
    assert launch.main([*command, f"--output={tmp_path}/again", "--threshold=0.5"]) == 0
    out = capsys.readouterr().out
    assert out.count("terms: theirs to say") == 1 and "threshold" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode=predict", "--workdir=DIR", "--input=a.jpg", "--output=DIR"], "in place of --workdir in the modes"),
        (["--mode=eval"], "in place of --workdir in the modes predict and export"),
        (["--mode=predict", "--output=DIR"], "mode predict needs --input"),
    ],
)
def test_flags_that_do_not_go_with_a_file_are_one_line(arguments, said, file, capsys):
    assert launch.main(["launch.py", f"--weights={file}", *arguments]) == 2
    assert said in capsys.readouterr().err
