"""Data of one's own from the annotation file to drawn pictures: 9 joints, two classes, no person anywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch
from querypose_jax.inference.predictor import Predictor
from tests.insects import write_insects

CONFIG = f"--config={Path(__file__).parent / 'insect_run.py'}"


@pytest.mark.slow
def test_insects_are_trained_evaluated_predicted_and_drawn(tmp_path, capsys):
    root, run = tmp_path / "insects", tmp_path / "run"
    write_insects(root, train=6, val=4)
    where = [f"--config.data.root={root}", f"--config.data.prepared={tmp_path}/prepared"]
    assert launch.main(["launch.py", CONFIG, f"--workdir={run}", *where]) == 0
    table = capsys.readouterr().out
    assert "keypoint AP of beetle" in table
    assert "left_feeler" in table
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([entry["loss/total"] for entry in logged if "loss/total" in entry]).all()
    detections = json.loads((run / "eval" / "3" / "detections.json").read_text())
    assert {len(d["keypoints"]) for d in detections} == {27}
    assert {d["category_id"] for d in detections} <= {3, 7}  # those of the file

    picture = root / "pictures" / "00006.jpg"
    arguments = [f"--workdir={run}", f"--input={picture}", f"--output={tmp_path}/out", "--threshold=0"]
    assert launch.main(["launch.py", "--mode=predict", *arguments]) == 0
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {d["category_id"] for d in predictions} <= {1, 2}
    assert len(predictions) == len(Predictor.from_checkpoint(run)(picture, threshold=0))
    with Image.open(tmp_path / "out" / "00006.jpg") as drawn, Image.open(picture) as original:
        assert drawn.size == original.size
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(original)).max() > 100

    assert launch.main(["launch.py", f"--workdir={run}", "--mode=eval", *where, "--config.eval.flip=True"]) == 0
    flipped = json.loads((run / "eval" / "3" / "flip" / "detections.json").read_text())
    assert len(flipped) >= len(detections)
    assert (run / "eval" / "3" / "flip" / "breakdown.json").exists()
