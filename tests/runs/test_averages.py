"""A run with moving averages from the command line: who gets the averages, and who the parameters themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

import launch
from querypose_jax.checkpoints.checkpoint import load_arrays
from querypose_jax.evaluation.coco import metrics_table
from querypose_jax.inference.predictor import Predictor
from tests.toy import family  # noqa: F401  registers itself

ROOT = Path(__file__).parent.parent.parent
PICTURE = str(ROOT / "docs" / "pictures" / "people.jpg")
CONFIG = f"--config={ROOT}/tests/toy/config.py"


def run(*arguments: str) -> None:
    assert launch.main(["launch.py", *arguments]) == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return f"--config.data.prepared={tmp_path_factory.mktemp('data')}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """Twelve steps: the averages are far behind the parameters."""
    workdir = tmp_path_factory.mktemp("run")
    run(CONFIG, f"--workdir={workdir}", data, "--config.train.ema_decay=0.9", "--config.eval.raw=True")
    return workdir


def read(path: Path):
    return json.loads(path.read_text())


def best_box(results: list[dict]) -> list[float]:
    return max(results, key=lambda person: person["score"])["bbox"]


def test_an_evaluation_scores_both_and_the_averages_come_first(trained, data, capsys):
    folder = trained / "eval" / "12"
    of_averages, of_raw = read(folder / "metrics.json"), read(folder / "raw" / "metrics.json")
    assert {name: value for name, value in of_averages.items() if name.startswith("raw/")} == {
        f"raw/{name}": value for name, value in of_raw.items()
    }
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()][-1]
    assert of_averages.items() <= logged.items() and "raw/keypoint/AP" in logged
    seen = {name: read(folder / name / "detections.json") for name in ("", "raw")}
    assert best_box(seen[""]) != best_box(seen["raw"])

    run("--mode=eval", f"--workdir={trained}", data)
    assert "raw/keypoint" in capsys.readouterr().out
    assert {name: read(folder / name / "detections.json") for name in seen} == seen
    run("--mode=eval", f"--workdir={trained}", data, "--config.eval.raw=False")
    assert not any(name.startswith("raw/") for name in read(folder / "metrics.json"))


def test_a_table_has_a_line_for_each_kind_of_both():
    metrics = {"keypoint/AP": 0.5, "box/AP": 0.4, "raw/keypoint/AP": 0.3, "raw/pruning/queries": 7.0}
    lines = metrics_table(metrics).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["keypoint", "50.0"],
        ["box", "40.0"],
        ["raw/keypoint", "30.0"],
    ]


def test_predictions_and_exports_take_the_averages_unless_told(trained, tmp_path):
    arrays = load_arrays(trained)
    averaged, raw = (Predictor.from_checkpoint(trained, raw=raw) for raw in (False, True))
    np.testing.assert_array_equal(averaged.model.head.kernel[...], arrays["ema.head.kernel"])
    np.testing.assert_array_equal(raw.model.head.kernel[...], arrays["model.head.kernel"])
    boxes = {}
    for name, flags in (("averaged", ()), ("raw", ("--raw",))):
        where = f"--workdir={trained}", f"--output={tmp_path / name}"
        run("--mode=predict", *where, f"--input={PICTURE}", "--threshold=0", *flags)
        boxes[name] = [person["bbox"] for person in read(tmp_path / name / "predictions.json")]
        run("--mode=export", *where, "--platforms=cpu", *flags)
    assert boxes["averaged"] != boxes["raw"]
    for name, item in (("averaged", "ema"), ("raw", "model")):
        with np.load(tmp_path / name / "weights.npz") as exported:
            np.testing.assert_array_equal(exported["head.kernel"], arrays[f"{item}.head.kernel"])
