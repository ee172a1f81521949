"""The house knows no family: one that it has never heard of goes through every verb with nothing else changed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import launch
from querypose_jax.checkpoints.checkpoint import load_arrays
from querypose_jax.errors import UserError
from querypose_jax.inference.exported import Exported
from querypose_jax.inference.figures import explain_picture
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import get_family, register
from tests.toy import family  # noqa: F401  registers itself

ROOT = Path(__file__).parent.parent.parent
CONFIG = "--config=tests/toy/config.py"


def run(*arguments: str) -> None:
    assert launch.main(["launch.py", *arguments]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("toy")


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    """A run that SIGKILL ended between two checkpoints, continued by the same command."""
    workdir = folder / "run"
    command = [
        sys.executable, "-m", "tests.toy.run", CONFIG, f"--workdir={workdir}", f"--config.data.prepared={folder}/data"
    ]  # fmt: skip
    slow = os.environ | {"SLOW": "0.3", "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(command, cwd=ROOT, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        time.sleep(0.1)
        if (workdir / "checkpoints" / "3").exists() or process.poll() is not None:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    run(CONFIG, f"--workdir={workdir}", f"--config.data.prepared={folder}/data")
    return workdir


@pytest.mark.slow
def test_it_resumes_after_sigkill_to_the_bit(trained, folder):
    run(CONFIG, f"--workdir={folder}/whole", f"--config.data.prepared={folder}/data")
    killed, whole = load_arrays(trained, 12), load_arrays(folder / "whole", 12)
    assert killed.keys() == whole.keys()
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert all(line["skipped_steps"] == 0 for line in lines)


@pytest.mark.slow
def test_it_is_evaluated_and_its_pictures_are_drawn(trained, folder):
    run("--mode=eval", f"--workdir={trained}", f"--config.data.prepared={folder}/data", "--config.eval.flip=True")
    metrics = json.loads((trained / "eval" / "12" / "metrics.json").read_text())
    assert {"keypoint/AP", "box/AP"} <= metrics.keys() and not any(name.startswith("pruning") for name in metrics)
    assert len(list((trained / "eval" / "12" / "pictures").glob("*.jpg"))) == 2
    assert (trained / "eval" / "12" / "flip" / "metrics.json").exists()


def test_it_predicts_and_an_exported_program_gives_the_same_poses(trained, folder):
    picture = ROOT / "docs" / "pictures" / "people.jpg"
    run("--mode=predict", f"--workdir={trained}", f"--input={picture}", f"--output={folder}/poses", "--threshold=0")
    assert len(json.loads((folder / "poses" / "predictions.json").read_text())) == 2
    assert (folder / "poses" / "people.jpg").exists()
    run("--mode=export", f"--workdir={trained}", f"--output={folder}/exported", "--platforms=cpu")
    people = Predictor.from_checkpoint(trained)(picture, threshold=0)
    found = Exported(folder / "exported")(np.asarray(people.picture), threshold=0)
    np.testing.assert_allclose(found["keypoints"], people.keypoints, atol=1e-3)


def test_what_it_does_not_offer_is_one_line(trained, folder, capsys):
    with pytest.raises(UserError, match="models of the family 'toy' cannot be looked into"):
        explain_picture(Predictor.from_checkpoint(trained), str(ROOT / "docs" / "pictures" / "people.jpg"))
    for arguments, message in (
        ([CONFIG, "--config.model.people=0"], "config.model.people=0 must be positive"),
        ([CONFIG, "--config.model.num_proposals=3"], "unknown config key num_proposals"),
    ):
        assert launch.main(["launch.py", *arguments, f"--workdir={folder}/other"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_it_is_planned():
    command = [sys.executable, "-m", "tests.toy.run", CONFIG, "--mode=plan", "--topology=v5e:2x4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "v5e:2x4, 8 chips" in done.stdout and "take replicated" in done.stdout


def test_a_name_is_one_familys_alone():
    with pytest.raises(UserError, match="a family 'querypose' is there already"):
        register("querypose", get_family("toy"))
    register("toy", get_family("toy"))  # once more is no harm
