"""Complete state dicts of released size, through the command line: imported, run, equal to the goldens."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from querypose_jax.checkpoints.checkpoint import load_model, named_leaves
from querypose_jax.weights.command import main
from tests.parity import deformable_goldens, goldens
from tests.parity.goldens import Golden, assert_close
from tests.parity.test_grouppose_infer import FULL, check_poses
from tests.test_imports import ROOT
from tests.weights import torch_files

# max |a - b| of a full-size head in float32 (boxes and keypoints in pixels).
TOLERANCES = {
    "logits": 1e-3, "boxes": 0.2, "pose": 2e-3, "sigma": 1e-3,
    "final_scores": 1e-4, "final_boxes": 0.2, "final_keypoints": 1.0,
}  # fmt: skip


def golden_of(kind: str, wanted) -> Golden:
    """The golden of this kind for which `wanted(meta)` holds; skips where there is none."""
    found = [path for path, meta in goldens.metas().items() if meta["kind"] == kind and wanted(meta)]
    if not found:
        pytest.skip(f"no such golden of kind {kind} in {goldens.FOLDER.name}/")
    return Golden(found[0])


def manifest(name: str) -> dict[str, list[int]]:
    path = goldens.FOLDER / name
    if not path.exists():
        pytest.skip(f"no {name} in {goldens.FOLDER.name}/")
    return json.loads(path.read_text())["shapes"]


def write(state: dict[str, np.ndarray], path) -> None:
    """The state dict as a released file: flat as .safetensors, under "model" as .pth."""
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(state, path)
        return
    path.write_bytes(torch_files.save({"model": state, "optimizer": {"param_groups": []}, "iteration": 279_999}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "head", "backbone", "file"),
    [
        ("coco_hrnet_w32.py:light", "manifest_coco_light.json", "backbone_manifest_hrnet_w32.json", "w32.pth"),
        ("coco_r50.py:full", "manifest_coco.json", "backbone_manifest_r50_fpn.json", "r50.safetensors"),
    ],
)
def test_a_complete_state_dict_imports_runs_and_gives_the_golden_outputs(
    config, head, backbone, file, tmp_path, record_property
):
    light = config.endswith(":light")
    of_head = golden_of("head_infer", lambda meta: meta["config"]["dim"] == 256 and meta["config"]["light"] == light)
    of_backbone = golden_of("backbone", lambda meta: meta["manifest"] == backbone)
    shapes = manifest(head) | manifest(backbone)
    write(goldens.weights().make_all(shapes), tmp_path / file)
    out = tmp_path / "out"
    arguments = [f"--input={tmp_path / file}", f"--config={ROOT / 'configs' / config}", f"--output={out}"]
    assert main(["weights", "--source=official", *arguments]) == 0
    (tmp_path / file).unlink()
    report = json.loads((out / "import.json").read_text())
    assert report["whole_model"]
    assert len(report["used"]) + len(report["unused"]) == len(shapes)

    _, graphdef, state = load_model(out)

    @jax.jit
    def features(state, images):
        return nnx.merge(graphdef, state).backbone(images)

    for level, x in zip((2, 3, 4, 5), features(state, of_backbone["images"].transpose(0, 2, 3, 1)), strict=True):
        expected = of_backbone[f"p{level}"]
        step = 256 // expected.shape[1]
        actual = np.asarray(x).transpose(0, 3, 1, 2)[:, ::step]
        record_property(f"p{level}", assert_close(actual, expected, relative=1e-4, what=f"p{level}"))

    @jax.jit
    def infer(state, pyramid, batch):
        model = nnx.merge(graphdef, state)
        outputs = model.cascade(pyramid, batch, train=False)
        return outputs, model.decode(outputs, batch)

    outputs, poses = infer(state, goldens.pyramid(of_head, "float32"), goldens.batch(of_head, "float32"))
    score = 1 - np.asarray(outputs.sigma).mean(-1, keepdims=True)
    actual = {
        "logits": outputs.logits,
        "boxes": outputs.boxes,
        "pose": np.concatenate([outputs.xy, score], -1),
        "sigma": outputs.sigma,
        "final_scores": poses.scores,
        "final_boxes": poses.boxes,
        "final_keypoints": np.concatenate([poses.keypoints, np.asarray(poses.keypoint_scores)[..., None]], -1),
    }
    for key, tolerance in TOLERANCES.items():
        record_property(key, assert_close(actual[key], of_head[key], tolerance, what=key))
    assert np.array_equal(poses.valid, of_head["final_keep"])


@pytest.mark.slow
def test_a_complete_group_pose_gives_the_golden_poses_and_comes_back_unchanged(tmp_path, record_property):
    golden = golden_of("gp_infer", lambda meta: meta["config"]["backbone"] == "resnet50")
    described = json.loads((goldens.FOLDER / golden.meta["manifest"]).read_text())
    state = goldens.weights().make_all(described["shapes"], golden.meta["weights_tag"])
    state |= {copy: state[first] for copy, first in described["duplicates"].items()}
    assert len(state) == described["num_entries"]
    file, out = tmp_path / "r50.pth", tmp_path / "out"
    write(state, file)
    given = [f"--config={ROOT / 'configs' / 'grouppose' / 'coco_r50.py'}", "--source=official"]
    assert main(["weights", *given, f"--input={file}", f"--output={out}"]) == 0
    report = json.loads((out / "import.json").read_text())
    assert report["whole_model"]
    assert len(report["used"]) == len(state)

    _, graphdef, weights = load_model(out)
    made = deformable_goldens.with_pixels(golden, deformable_goldens.batch(golden, "float32"))

    @jax.jit
    def predict(weights, batch):
        return nnx.merge(graphdef, weights).predict(batch)

    check_poses(predict(weights, made), golden, FULL, "float32", record_property)

    exported, back = tmp_path / "r50.safetensors", tmp_path / "back"
    assert main(["weights", "--to=official", f"--input={out}", f"--output={exported}"]) == 0
    written = safetensors.numpy.load_file(exported)
    assert written.keys() == state.keys()
    assert all(np.array_equal(written[name], state[name]) for name in state)
    assert main(["weights", *given, f"--input={exported}", f"--output={back}"]) == 0
    jax.tree.map(np.testing.assert_array_equal, named_leaves(load_model(back)[2]), named_leaves(weights))
