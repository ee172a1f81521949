"""A SimplePose from the command line: trained on insects, evaluated, predicted, exported; CrowdPose by its protocol."""

import json
import shutil

import numpy as np
import pytest
from flax import nnx

import launch
from configs.simplepose import crowdpose_hourglass104
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.inference.exported import Exported
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import build_model
from tests import simplepose_insects
from tests.input_pipeline.test_crowdpose import REAL, needs_pictures

SMALL = (
    "--config.model.backbone.depth=1", "--config.model.backbone.dims=(8,8)", "--config.model.backbone.mods=(1,1)",
    "--config.model.backbone.stem_dim=4", "--config.model.backbone.feature_dim=8", "--config.data.batch_size=2",
    "--config.train.num_steps=3", "--config.train.log_every=1", "--config.train.checkpoint_every=3",
    "--config.data.workers=1", "--config.eval.batch_size=2", "--config.optimizer.warmup_steps=1",
    "--config.model.loss.pictures_per_group=2",
)  # fmt: skip


def run(*arguments: str) -> None:
    assert launch.main(["launch.py", *arguments]) == 0


@pytest.mark.slow
def test_insects_are_trained_on_evaluated_predicted_and_exported(tmp_path, capsys):
    root, workdir = tmp_path / "insects", tmp_path / "run"
    simplepose_insects.write(root, train=6, val=4)
    path = root / "annotations" / "val.json"
    content = json.loads(path.read_text())
    empty = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != empty]
    path.write_text(json.dumps(content))
    where = f"--config.data.root={root}", f"--config.data.prepared={tmp_path}/prepared"
    run(f"--config={simplepose_insects.__file__}", f"--workdir={workdir}", *where, *SMALL)
    shown = capsys.readouterr().out
    assert "have no segmentations: losses count everywhere" in shown
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([entry["loss/total"] for entry in logged if "loss/total" in entry]).all()

    run("--mode=eval", f"--workdir={workdir}", *where, "--config.eval.image_filter=with_person")
    assert "eval.image_filter=with_person: 3 of 4 pictures; not comparable with all" in capsys.readouterr().out
    folder = workdir / "eval" / "3" / "with_person"
    assert (folder / "metrics.json").exists()
    assert {d["image_id"] for d in json.loads((folder / "detections.json").read_text())} <= {7, 8, 9}

    picture = root / "pictures" / "00006.jpg"
    run("--mode=predict", f"--workdir={workdir}", f"--input={picture}", f"--output={tmp_path}/out", "--threshold=0")
    assert (tmp_path / "out" / "00006.jpg").exists()
    run(
        "--mode=export",
        f"--workdir={workdir}",
        f"--output={tmp_path}/exported",
        "--canvases=160x192",
        "--platforms=cpu",
    )
    people = Predictor.from_checkpoint(workdir)(picture, threshold=0)
    found = Exported(tmp_path / "exported")(np.asarray(people.picture), threshold=0)
    np.testing.assert_allclose(found["keypoints"], people.keypoints, atol=1e-2)


@needs_pictures
@pytest.mark.slow
def test_crowdpose_is_scored_by_its_own_protocol(tmp_path, capsys):
    """Random weights, real pictures and annotations; a file of its own, since real data are never written to."""
    root = tmp_path / "crowdpose"
    shutil.copytree(REAL, root)
    config = crowdpose_hourglass104.get_config()
    config.model.backbone.update(depth=1, dims=(8, 8), mods=(1, 1), stem_dim=4, feature_dim=8)
    config.data.update(root=str(root), prepared=str(tmp_path / "prepared"), eval_length=128)
    model = build_model(config, rngs=nnx.Rngs(0))
    model.network.heatmaps[-1].bias[...] = 0.1  # something is found everywhere
    save_model(tmp_path / "run", config, nnx.state(model))
    run("--mode=eval", f"--workdir={tmp_path}/run")
    shown = capsys.readouterr().out
    assert "APeasy" in shown and "APhard" in shown
    [metrics] = (tmp_path / "run" / "eval").glob("*/flip/metrics.json")
    numbers = json.loads(metrics.read_text())
    assert numbers["keypoint/APeasy"] == -1 and 0 <= numbers["keypoint/APmedium"] <= 1, "both are of medium crowding"
    assert not any(name in numbers for name in ("keypoint/APm", "keypoint/APl"))
