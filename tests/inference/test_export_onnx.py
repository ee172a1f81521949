"""An export to ONNX gives the poses of the model, in a process without jax; what cannot be exported is a line."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from configs import synthetic_tiny as querypose_tiny
from configs.edpose import synthetic_tiny as edpose_tiny
from querypose_jax.bench.inference import without_zero_kernels
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.errors import UserError
from querypose_jax.inference.export import export_model
from querypose_jax.inference.exported import Exported
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.base import PoseModel
from querypose_jax.models.registry import build_model
from querypose_jax.runs.export import export
from querypose_jax.skeletons import COCO
from tests.inference.other_process import found_without
from tests.models.grouppose.small_model import small_config as grouppose_small
from tests.models.test_simplepose import loud_model
from tests.models.test_simplepose import small_config as simplepose_small

ROOT = Path(__file__).parents[2]
BLOCKED = ("jax", "flax", "orbax", "tensorflow", "ml_collections", "PIL", "onnx", "querypose_jax", "kernels")


def a_predictor(config: ConfigDict, model: PoseModel | None = None) -> Predictor:
    """Of random weights under which poses depend on the picture."""
    config.data.update(eval_short_side=64, longest_side=96, canvases=((64, 96), (96, 64)))
    config.data.update(eval_resize="height", eval_length=64, eval_multiple=32)
    graphdef, state = nnx.split(model or build_model(config, rngs=nnx.Rngs(0)))
    return Predictor(config, graphdef, state if model else without_zero_kernels(state), COCO)


def simplepose() -> Predictor:
    config = simplepose_small()
    config.model.decode.update(heatmap_threshold=0.5, person_threshold=0.0)
    return a_predictor(config, loud_model(config))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for size in ((120, 160), (160, 120), (90, 130))]


@pytest.fixture
def needs_onnx() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing runs ONNX here")


@pytest.mark.parametrize(
    "make",
    [
        simplepose,
        pytest.param(lambda: a_predictor(grouppose_small()), id="grouppose", marks=pytest.mark.slow),
        pytest.param(lambda: a_predictor(edpose_tiny.get_config()), id="edpose", marks=pytest.mark.slow),
        pytest.param(lambda: a_predictor(querypose_tiny.get_config()), id="querypose", marks=pytest.mark.slow),
    ],
)
def test_a_fresh_process_without_jax_gives_the_same_poses(make, pictures, tmp_path, needs_onnx):
    predictor = make()
    canvases = sorted({predictor.canvas(*picture.shape[:2]) for picture in pictures})
    folder = export_model(predictor, tmp_path / "exported", canvases, (1, 2), progress=False, format="onnx")
    for picture, found in zip(pictures, found_without(BLOCKED, folder, pictures, tmp_path), strict=True):
        ours = predictor(picture, threshold=0)
        assert len(found["scores"]) == len(ours) > 0
        np.testing.assert_allclose(found["scores"], ours.scores, rtol=1e-4)
        np.testing.assert_allclose(found["boxes"], ours.boxes, atol=1e-2)
        np.testing.assert_allclose(found["keypoints"], ours.keypoints, atol=1e-2)
        np.testing.assert_allclose(found["keypoint_scores"], ours.keypoint_scores, rtol=1e-4, atol=1e-5)


def test_a_program_says_what_it_is_and_the_loader_keeps_to_its_threshold(pictures, tmp_path, needs_onnx):
    import onnx

    predictor = simplepose()
    predictor.threshold = predictor.threshold._replace(score=0.4)
    folder = export_model(predictor, tmp_path / "exported", [(64, 96)], progress=False, format="onnx")
    program = folder / "program_1x64x96.onnx"
    onnx.checker.check_model(str(program), full_check=True)
    model = onnx.load(str(program), load_external_data=False)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    written = json.loads((folder / "about.json").read_text())
    assert written.pop("programs") == {"1x64x96": program.name}
    assert about == written
    assert about["keypoints"] == list(COCO.names) and about["threshold"]["score"] == 0.4 and about["kind"] == "onnx"
    assert [x.name for x in model.graph.input] == ["image", "valid_size", "orig_size", "inv_affine"]
    exported = Exported(folder)
    everybody, kept = exported(pictures[0], threshold=0), exported(pictures[0])
    assert 0 < len(kept["scores"]) < len(everybody["scores"])
    assert (kept["scores"] >= 0.4).all()


def test_the_page_runs_a_program_without_the_loader(pictures, tmp_path, needs_onnx, monkeypatch, capsys):
    """The example of docs/export.md finds what the loader finds."""
    predictor = a_predictor(grouppose_small())
    predictor.threshold = predictor.threshold._replace(score=0.0)
    folder = export_model(predictor, tmp_path / "exported", [(64, 96)], progress=False, format="onnx")
    Image.fromarray(pictures[0]).save(tmp_path / "photo.jpg", quality=95)
    with Image.open(tmp_path / "photo.jpg") as photo:
        expected = Exported(folder)(np.asarray(photo))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    page = (ROOT / "docs" / "export.md").read_text().replace("1x160x192", "1x64x96")  # the demo's canvas
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    found = {name: x[names["kept"]] for name, x in names["people"].items()}
    order = np.argsort(-found["scores"], kind="stable")
    assert len(order) == len(expected["scores"]) > 0
    np.testing.assert_allclose(found["keypoints"][order], expected["keypoints"], atol=1e-2)
    assert "nose" in capsys.readouterr().out


def test_the_command_exports_a_run_in_float32(tmp_path, needs_onnx):
    """Whatever a run computes in: ONNX programs are float32, and say so."""
    predictor = simplepose()
    predictor.config.model.dtype = "bfloat16"
    save_model(tmp_path / "run", predictor.config, nnx.state(predictor.model))
    export(predictor.config, tmp_path / "run", None, False, str(tmp_path / "out"), ["64x96"], ["1"], ["cpu"], "onnx")
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["kind"], about["dtype"], list(about["programs"])) == ("onnx", "float32", ["1x64x96"])


def test_an_export_replaces_one_of_the_other_format(pictures, tmp_path, needs_onnx):
    predictor = simplepose()
    folder = tmp_path / "exported"
    for format in ("stablehlo", "onnx", "onnx"):
        export_model(predictor, folder, [(64, 96)], platforms=("cpu",), progress=False, format=format)
    about = json.loads((folder / "about.json").read_text())
    assert about["kind"] == "onnx"
    assert len(Exported(folder)(pictures[0], threshold=0)["scores"]) > 0


def test_without_the_package_a_line_names_it_and_an_export_that_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(UserError, match=r"export: ONNX needs the package onnx; pip install '.\[onnx\]'"):
        export_model(simplepose(), tmp_path, progress=False, format="onnx")
    assert (tmp_path / "about.json").read_text() == "{}"


def test_an_unknown_format_is_a_line(tmp_path):
    with pytest.raises(UserError, match="format 'tflite' is unknown; known: stablehlo, onnx"):
        export_model(simplepose(), tmp_path / "exported", progress=False, format="tflite")


def test_bfloat16_is_a_line_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", sys)  # as if it were installed: it is not used before this is told
    monkeypatch.setitem(sys.modules, "querypose_jax.inference.export_onnx", None)
    predictor = simplepose()
    predictor.config.model.dtype = "bfloat16"
    with pytest.raises(UserError, match="compute in float32, this model in bfloat16; load it with dtype='float32'"):
        export_model(predictor, tmp_path / "exported", progress=False, format="onnx")


def test_the_loader_says_what_runs_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "about.json").write_text(json.dumps({"format": 2, "kind": "onnx"}))
    with pytest.raises(ValueError, match="holds ONNX, which onnxruntime runs; pip install onnxruntime"):
        Exported(tmp_path)
