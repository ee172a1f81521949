"""The command line: what a mistake costs is one line and exit code 2, and nothing is left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flax import nnx
from PIL import Image

import launch
from configs import coco_r50
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.checkpoints.config_json import write_config
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import build_model
from tests import tiny_run

ROOT = Path(__file__).parent.parent
TINY = f"--config={ROOT / 'tests' / 'tiny_run.py'}"
COCO = f"--config={ROOT / 'configs' / 'coco_r50.py'}"


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail; returns its one line."""

    def check(*arguments: str) -> str:
        assert launch.main(["launch.py", *arguments]) == 2
        *progress, line, end = re.split("[\r\n]", capsys.readouterr().err)
        assert line.startswith("error: ")
        assert end == ""
        assert not any("error" in shown or "Traceback" in shown for shown in progress)
        return line

    return check


@pytest.fixture
def imported(tmp_path) -> Path:
    """A folder with untrained weights of the tiny model, as an import would write it."""
    config = tiny_run.get_config()
    save_model(tmp_path / "imported", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    return tmp_path / "imported"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TINY, "--config.train.num_stepz=3"], "unknown config key num_stepz, did you mean num_steps"),
        ([TINY, "--config.modle.dim=3"], "unknown config key modle"),
        ([TINY, "--config.train.num_steps=many"], "--config.train.num_steps=many: 'many' is not a whole number"),
        (["--config=configs/nothing.py"], "configs/nothing.py: no such config file"),
        ([TINY, "--speed=9"], "Unknown command line flag 'speed'"),
        ([TINY, "--mode=dance"], "--mode=dance"),
        ([TINY, "train"], "unexpected 'train'"),
        ([TINY, "--config.data.name=imagenet"], "imagenet"),
        ([TINY, "--config.model.name=openpose"], "openpose"),
        ([TINY, "--config.mesh.data=999", "--config.data.batch_size=999"], "mesh.data=999"),
        ([TINY, "--config.data.max_people=5"], "keep at most 4 people, one for each proposal"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_leaves_nothing(arguments, message, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what a command prepares on its way is prepared here
    line = fails(*arguments, f"--workdir={tmp_path / 'run'}", "--config.data.prepared=data")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_flags_that_a_mode_needs_are_named(fails, tmp_path):
    assert "mode train needs --workdir" in fails(TINY)
    assert "mode predict needs --input, --output" in fails(f"--workdir={tmp_path}", "--mode=predict")
    assert "mode predict needs --workdir, --output (or --weights)" in fails("--mode=predict", "--input=a.jpg")
    assert "mode plan needs --topology" in fails(TINY, "--mode=plan")


def test_flags_of_several_processes_come_together(fails, tmp_path):
    here = f"--workdir={tmp_path / 'run'}"
    assert "--num_processes belong together" in fails(TINY, here, "--process_id=1", "--num_processes=2")
    told = ["--coordinator=localhost", "--process_id=1", "--num_processes=2"]
    assert "--coordinator=localhost is not HOST:PORT" in fails(TINY, here, *told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config["mesh"].pop("fsdp"), "it lacks mesh.fsdp"),
        (lambda config: config["data"].update(row_ladder=[4]), "it has data.row_ladder"),
    ],
)
def test_a_run_of_another_version_is_one_line(change, said, imported, fails):
    path = imported / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    line = fails("--mode=eval", f"--workdir={imported}")
    assert f"config.json is of another version of querypose_jax ({said})" in line


def test_a_missing_data_root_names_the_path_it_wanted(fails, tmp_path):
    line = fails(COCO, f"--config.data.root={tmp_path}/coco", f"--workdir={tmp_path}/run")
    assert f"{tmp_path}/coco" in line
    assert list(tmp_path.iterdir()) == []


def coco_folder(root: Path, annotations: str, picture: bytes) -> Path:
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir(parents=True)
        (root / f"{split}2017" / "1.jpg").write_bytes(picture)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(annotations)
    return root


def one_person() -> str:
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 900.0, "bbox": [5, 5, 30, 30]}
    person |= {"keypoints": [20, 20, 2] * 17, "num_keypoints": 17}
    images = [{"id": 1, "file_name": "1.jpg", "height": 60, "width": 60}]
    category = {"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": []}
    return json.dumps({"images": images, "annotations": [person], "categories": [category]})


def test_an_annotation_file_that_is_no_json_is_one_line(fails, tmp_path):
    root = coco_folder(tmp_path / "coco", "{ not json", b"")
    line = fails(
        COCO, f"--config.data.root={root}", f"--workdir={tmp_path}/run", f"--config.data.prepared={tmp_path}/p"
    )
    assert "person_keypoints_train2017.json" in line
    assert not (tmp_path / "run").exists()
    assert {path.name for path in (tmp_path / "p").rglob("*")} <= {".lock"}


def test_a_picture_that_does_not_decode_is_one_line(fails, tmp_path):
    root = coco_folder(tmp_path / "coco", one_person(), b"these bytes are no picture")
    arguments = [f"--config.data.root={root}", f"--workdir={tmp_path}/run", f"--config.data.prepared={tmp_path}/p"]
    line = fails(TINY, "--config.data.name=coco", *arguments)
    assert "1.jpg" in line
    assert "decode" in line
    assert not list(tmp_path.glob("run/eval/*"))


def test_a_checkpoint_of_another_model_is_one_line_in_every_mode(fails, imported, tmp_path):
    other = ("--config.model.dim=32", "--config.model.backbone.width=32")
    data = f"--config.data.prepared={tmp_path}/data"
    assert "another model" in fails(TINY, f"--workdir={imported}", "--mode=eval", *other, data)
    assert "model.dim is 16 there and 32 here" in fails(TINY, f"--workdir={imported}", *other, data)
    predict = ["--mode=predict", f"--workdir={imported}", f"--input={tmp_path}", f"--output={tmp_path}/out"]
    assert "another model" in fails(*predict, *other)


@pytest.mark.parametrize("mode", [["--mode=eval"], ["--mode=predict", "--input=x.jpg", "--output=out"]])
def test_eval_and_predict_check_the_configuration_of_the_run_with_the_overrides(mode, fails, imported, tmp_path):
    here = f"--workdir={imported}"
    assert "eval.canvas='wide' is unknown; known: ladder, exact" in fails(*mode, here, "--config.eval.canvas=wide")
    assert "model.num_proposals=4" in fails(*mode, here, "--config.data.max_people=20")  # that of the run
    assert "unknown config key canvaz, did you mean canvas" in fails(*mode, here, "--config.eval.canvaz=exact")
    assert "config.json: no such file" in fails(*mode, f"--workdir={tmp_path}/nowhere")


def test_training_without_a_config_goes_on_with_that_of_the_run(monkeypatch, capsys, imported, tmp_path):
    seen = {}
    monkeypatch.setitem(launch.MODES, "train", (("workdir",), lambda options, config: seen.update(config=config)))
    assert launch.main(["launch.py", f"--workdir={imported}", "--config.train.num_steps=77"]) == 0
    assert (seen["config"].model.num_proposals, seen["config"].train.num_steps) == (4, 77)
    assert not capsys.readouterr().out
    assert launch.main(["launch.py", f"--workdir={tmp_path}/new"]) == 0
    assert capsys.readouterr().out == "no --config: synthetic_tiny.py, a small model of drawn people\n"


def test_a_key_that_the_run_does_not_have_is_one_line(fails, tmp_path):
    write_config(tmp_path, coco_r50.get_config())
    predict = ["--mode=predict", f"--workdir={tmp_path}", "--input=x.jpg", "--output=out"]
    line = fails(*predict, "--config.data.synthetic.seed=3")  # the default configuration has it
    assert "unknown config key" in line
    assert "synthetic" in line


def test_predict_needs_neither_tensorflow_nor_the_input_pipeline(imported, tmp_path):
    Image.new("RGB", (80, 60), (90, 120, 60)).save(tmp_path / "grass.png")
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['input_pipeline'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r}); import launch\n"
        f"sys.exit(launch.main(['launch.py', '--mode=predict', '--workdir={imported}',"
        " '--input=grass.png', '--output=out', '--threshold=0']))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["grass.jpg", "predictions.json"]
    assert "1 picture with poses" in done.stdout


def test_training_without_tensorflow_says_what_to_install(fails, tmp_path, monkeypatch):
    again = ("tensorflow", "input_pipeline", "querypose_jax.runs")
    for module in [name for name in sys.modules if name.startswith(again)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert "pip install '.[train]'" in fails(TINY, f"--workdir={tmp_path}/run")


def interrupted(capsys, monkeypatch, mode: str, *arguments: str, said: str = "") -> str:
    """What a command that is interrupted at work prints."""

    def work(*_):
        raise KeyboardInterrupt(*[said] if said else [])

    monkeypatch.setitem(launch.MODES, mode, ((), work))
    assert launch.main(["launch.py", TINY, f"--mode={mode}", *arguments]) == 130
    return capsys.readouterr().err


def test_an_interrupted_command_says_what_the_same_command_would_do(capsys, monkeypatch, tmp_path):
    here = f"--workdir={tmp_path / 'run'}"
    begins, continues = "begins anew", "continues from the last checkpoint"
    assert begins in interrupted(capsys, monkeypatch, "train", here)
    (tmp_path / "run" / "checkpoints" / "300").mkdir(parents=True)
    assert continues in interrupted(capsys, monkeypatch, "train", here)
    for mode in ("eval", "predict", "export", "plan", "replay"):
        assert continues not in interrupted(capsys, monkeypatch, mode, here)
    assert "evaluates from the first picture on" in interrupted(capsys, monkeypatch, "eval", here)
    done = "6 of 11 pictures are done; the same command goes on with the rest"
    assert interrupted(capsys, monkeypatch, "predict", here, said=done) == f"interrupted; {done}\n"


@pytest.mark.slow
def test_an_interrupted_prediction_of_a_folder_goes_on_when_started_again(imported, tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    for index in range(10):
        Image.new("RGB", (80, 60), (90, 12 * index, 60)).save(tmp_path / "in" / f"{index}.png")
    command = ["launch.py", "--mode=predict", f"--workdir={imported}", f"--input={tmp_path / 'in'}", "--threshold=0"]
    command.append(f"--output={tmp_path / 'out'}")
    predict, windows = Predictor._predict_window, []

    def predict_twice(self, window, threshold):
        windows.append(len(window))
        if len(windows) == 2:
            raise KeyboardInterrupt
        return predict(self, window, threshold)

    monkeypatch.setattr(Predictor, "_predict_window", predict_twice)
    assert launch.main(command) == 130
    part = tmp_path / "out" / "predictions.part.jsonl"
    assert f"8 of 10 pictures are done ({part}); the same command goes on with the rest" in capsys.readouterr().err
    assert not (tmp_path / "out" / "predictions.json").exists()
    assert launch.main(command) == 0
    assert windows == [8, 2, 2]
    assert "10 pictures with poses" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 10 + 1
    assert len({person["image_id"] for person in json.loads((tmp_path / "out" / "predictions.json").read_text())}) == 10


@pytest.mark.slow
def test_train_evaluate_predict_from_nothing(tmp_path, capsys):
    run, data = tmp_path / "run", f"--config.data.prepared={tmp_path}/data"
    assert launch.main(["launch.py", TINY, f"--workdir={run}", data, "--config.train.num_steps=5"]) == 0
    table = capsys.readouterr().out
    assert "keypoint" in table
    assert str(run / "eval" / "5" / "pictures") in table
    written = {path.name for path in (run / "eval" / "5").iterdir()}
    # After five steps all pictures are as bad, so that nothing is left for "best".
    assert {"metrics.json", "detections.json", "index.html", "pictures", "worst"} <= written
    assert table.count("step 5") == 1
    trained = json.loads((run / "eval" / "5" / "metrics.json").read_text())

    again = ["launch.py", TINY, f"--workdir={run}", data, "--config.train.num_steps=5"]
    assert launch.main(again) == 0
    shown = capsys.readouterr().out
    assert "trained to step 5 already" in shown
    assert shown.count("keypoint") == table.count("keypoint")  # one table

    (run / "eval" / "5" / "metrics.json").unlink()  # as if killed between saving and evaluating
    assert launch.main(again) == 0
    shown = capsys.readouterr().out
    assert "already" not in shown
    assert shown.count("keypoint") == table.count("keypoint")
    assert json.loads((run / "eval" / "5" / "metrics.json").read_text()) == trained

    (run / "eval" / "5" / "metrics.json").unlink()
    assert launch.main(["launch.py", f"--workdir={run}", "--mode=eval"]) == 0
    assert json.loads((run / "eval" / "5" / "metrics.json").read_text()) == trained


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        (["predict", "--input=a.jpg"], ["--mode=predict", "--input=a.jpg"]),
        (["train", "--workdir=run"], ["--mode=train", "--workdir=run"]),
        (["--help"], ["--help"]),
    ],
)
def test_the_console_command_takes_the_verb_first(typed, run, monkeypatch):
    seen = []
    monkeypatch.setattr(launch, "whole_process", seen.append)
    monkeypatch.setattr(sys, "argv", ["querypose-jax", *typed])
    launch.console()
    assert seen == [["querypose-jax", *run]]


def test_the_console_command_exchanges_weights_and_asks_for_a_verb(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["querypose-jax", "weights", "--to=official"])
    with pytest.raises(SystemExit, match="2"):
        launch.console()
    assert "--input, --output is missing" in capsys.readouterr().err
    for nothing in ([], ["--workdir=run"]):
        monkeypatch.setattr(sys, "argv", ["querypose-jax", *nothing])
        with pytest.raises(SystemExit, match="2"):
            launch.console()
        assert "error: the verb comes first: querypose-jax train|eval|predict" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["querypose-jax", "check"])
    with pytest.raises(SystemExit, match="2"):
        launch.console()
    assert "error: 'check' is no verb: querypose-jax train|eval|predict" in capsys.readouterr().err
