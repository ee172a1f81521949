"""README.md and docs/: commands parse, links lead somewhere, every command is run by a test or says what it needs."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launch
import querypose_jax
from input_pipeline import check, convert, dump
from querypose_jax import command_line
from querypose_jax.bench import __main__ as bench
from querypose_jax.configuration.check_config import check_config
from querypose_jax.weights import command as weights
from scripts.make_notebook import notebook
from tests.toy import family  # noqa: F401  a command of docs/add_a_model.md names it

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?<![\w/-])((?:\.venv/bin/)?(?:python|pytest|make) [^#`']*)")
# Commands of benchmarks.md are how its numbers were measured: they are parsed, and run for the numbers only.
MEASURED = "benchmarks.md"

# Command in a fenced block -> the test that runs it (on less, or on smaller weights), or what it needs.
RUN_BY = {
    "make demo": "tests/test_launch.py::test_train_evaluate_predict_from_nothing",
    "make test": "needs nothing: it is the command that runs this test",
    "make test-all": "needs nothing: it is the command that runs this test",
    "python launch.py --mode=predict --weights=edpose_r50_coco.pth --input=photo.jpg --output=poses":
        "tests/weights/test_cache.py::"
        "test_the_command_line_takes_a_file_in_place_of_a_run_and_says_terms_and_threshold_once",
    "python launch.py --mode=predict --workdir=runs/demo --input=docs/pictures/people.jpg --output=poses":
        "tests/test_launch.py::test_predict_needs_neither_tensorflow_nor_the_input_pipeline",
    "python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 --config.data.root=/path/to/coco "
    "--config.init_from=weights/resnet50": "needs COCO and ImageNet weights",
    "python launch.py --config=configs/coco_r50.py --workdir=DIR": "needs a GPU and COCO",
    "python launch.py --mode=eval --workdir=runs/coco_r50": "needs COCO",
    "python launch.py --mode=export --workdir=runs/demo --output=exported":
        "tests/test_docs.py::test_the_notebook_runs_as_a_script_in_an_empty_folder",
    "python launch.py --mode=export --workdir=runs/demo --output=exported --format=onnx":
        "tests/inference/test_export_onnx.py::test_the_command_exports_a_run_in_float32",
    "python -m querypose_jax.weights --input=querypose_hrnet32.pth --output=weights/w32":
        "tests/weights/test_importing.py::test_a_whole_checkpoint_becomes_a_whole_model",
    "python -m querypose_jax.weights --to=official --input=runs/coco_r50 --output=coco_r50.safetensors":
        "tests/weights/test_exporting.py::test_import_and_export_are_each_others_inverse",
    "python -m tests.insects data/insects":
        "tests/test_custom_run.py::test_insects_are_trained_evaluated_predicted_and_drawn",
    "python -m input_pipeline.check --config=configs/custom_example.py --output=report":
        "tests/input_pipeline/test_check.py::"
        "test_command_reports_draws_charts_and_says_by_its_exit_code_whether_training_can_start",
    "python launch.py --config=configs/custom_example.py --workdir=runs/insects":
        "tests/test_custom_run.py::test_insects_are_trained_evaluated_predicted_and_drawn",
    "python launch.py --workdir=runs/insects --mode=predict --input=data/insects/pictures --output=insect_poses":
        "tests/test_custom_run.py::test_insects_are_trained_evaluated_predicted_and_drawn",
    "python -m input_pipeline.check --config=configs/coco_r50.py --config.data.root=data/coco --output=report":
        "tests/input_pipeline/test_check.py::"
        "test_command_reports_draws_charts_and_says_by_its_exit_code_whether_training_can_start",
    "python -m input_pipeline.check --config=configs/crowdpose_r50.py --config.data.root=data/crowdpose":
        "needs CrowdPose",
    "python launch.py --config=configs/coco_r50.py --workdir=runs/yolo --config.data.name=yolo "
    "--config.data.root=/path/to/folder": "needs pictures with labels in YOLO's form",
    "python -m input_pipeline.convert --config=configs/custom_example.py --to=yolo --output=data/insects_yolo":
        "tests/input_pipeline/test_yolo.py::test_the_command_says_what_is_lost",
    "python -m input_pipeline.convert --config=configs/custom_example.py --to=coco --output=data/insects_again "
    "--config.data.name=yolo --config.data.root=data/insects_yolo":
        "tests/input_pipeline/test_yolo.py::test_coco_to_yolo_and_back_is_the_same_to_the_last_bit",
    "python -m input_pipeline.check --config=configs/synthetic_tiny.py --output=report --draw=16 "
    "--config.data.augment.rotate=30 --config.data.augment.hue=0.1":
        "tests/input_pipeline/test_augment.py::test_check_draws_training_pictures_with_their_labels",
    "python -m input_pipeline.dump --config=configs/synthetic_tiny.py --output=batches --steps=200":
        "tests/input_pipeline/test_dump.py::test_command_writes_what_a_process_without_tensorflow_reads",
    "python -m input_pipeline.dump --config=configs/synthetic_tiny.py --output=pictures --kind=eval":
        "tests/input_pipeline/test_dump.py::test_dumped_evaluation_has_every_batch_and_the_ground_truth",
    "python launch.py --config=configs/coco_r50.py --mode=plan --topology=v5e:4x8":
        "tests/planning/test_plan.py::test_a_plan_for_a_slice_is_printed_without_workdir_and_data",
    "python launch.py --config=configs/coco_r50.py --workdir=/mnt/data/runs/coco_r50 --config.data.root=/mnt/data/coco "
    "--config.data.prepared=/local/prepared --config.data.batch_size=32": "needs a TPU slice and COCO",
    "python launch.py --mode=eval --workdir=/mnt/data/runs/coco_r50": "needs COCO",
    "python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 --config.data.root=/data/coco "
    "--config.data.batch_size=16": "needs eight GPUs and COCO",
    "python launch.py --config=configs/coco_r50.py --workdir=/shared/runs/coco_r50 --config.data.root=/shared/coco "
    "--config.data.prepared=/local/prepared --config.data.batch_size=64 --config.train.grace_s=50":
        "needs SLURM and COCO",
    "python launch.py --mode=serve --workdir=runs/demo":
        "tests/inference/test_serving.py::test_a_picture_gives_its_people_and_a_drawing",
    "python launch.py ... --coordinator=HOST0:1234 --num_processes=2 --process_id=0":
        "tests/multi_device/test_processes.py::test_two_processes_continue_as_one",
    "python launch.py ... --coordinator=HOST0:1234 --num_processes=2 --process_id=1":
        "tests/multi_device/test_processes.py::test_two_processes_continue_as_one",
    "python launch.py --config=configs/ablations.py:iteration=none --workdir=runs/iteration_none "
    "--config.data.root=/path/to/coco --config.init_from=weights/resnet50":
        "needs eight accelerators, COCO and ImageNet weights",
    "python scripts/rank_ablations.py --output=runs/ranking": "needs hours",
    "python -m pytest tests/parity --junitxml=parity.xml": "needs goldens",
    "python -m tests.parity.table parity.xml": "needs goldens",
    "python -m querypose_jax.weights --input=R-50.pkl --config=configs/coco_r50.py --output=weights/resnet50":
        "tests/weights/test_importing.py::test_the_file_of_a_trunk_starts_a_model_whose_head_stays_random",
    "python launch.py --config=configs/coco_r50.py --workdir=runs/coco_r50 --config.init_from=weights/resnet50 "
    "--config.data.root=...": "needs COCO and ImageNet weights",
    "python launch.py --mode=eval --workdir=weights/w32 --config.data.root=/path/to/coco":
        "needs COCO and released weights",
    "python launch.py --mode=predict --workdir=weights/w32 --input=photo.jpg --output=poses":
        "tests/test_packaging.py::test_an_installed_copy_predicts_from_another_folder_without_tensorflow",
    "python -m tests.toy.run --config=tests/toy/config.py --workdir=runs/toy":
        "tests/toy/test_family.py::test_it_resumes_after_sigkill_to_the_bit",
    "python -m tests.toy.run --mode=predict --workdir=runs/toy --input=docs/pictures/people.jpg --output=poses "
    "--threshold=0":
        "tests/toy/test_family.py::test_it_predicts_and_an_exported_program_gives_the_same_poses",
    "python -m querypose_jax.weights --source=centernet --input=multi_pose_hg_3x.pth "
    "--config=configs/simplepose/coco_hourglass104.py --output=weights/hg104":
        "tests/weights/test_simplepose_files.py::"
        "test_centernets_file_starts_the_hourglass_and_the_heads_stay_random",
    "python launch.py --config=configs/simplepose/coco_hourglass104.py --workdir=runs/simplepose_coco "
    "--config.data.root=/path/to/coco --config.init_from=weights/hg104": "needs COCO and CenterNet's weights",
    "python launch.py --mode=eval --workdir=runs/simplepose_coco --config.eval.image_filter=with_person": "needs COCO",
    "python -m querypose_jax.weights --source=official --input=grouppose_r50.pth "
    "--config=configs/grouppose/coco_r50.py --output=weights/grouppose_r50":
        "tests/weights/test_full_states.py::"
        "test_a_complete_group_pose_gives_the_golden_poses_and_comes_back_unchanged",
    "python launch.py --mode=predict --workdir=weights/grouppose_r50 --input=photo.jpg --output=poses":
        "needs released weights",
    "python launch.py --config=configs/grouppose/synthetic_tiny.py --workdir=runs/grouppose_tiny": "needs minutes",
    "python launch.py --config=configs/edpose/synthetic_tiny.py --workdir=runs/edpose_tiny": "needs minutes",
    "python launch.py --config=configs/custom_example.py --workdir=runs/insects_from_people "
    "--config.init_from=runs/demo":
        "tests/checkpoints/test_start.py::"
        "test_every_array_is_either_that_of_the_weights_or_as_drawn_but_for_rows_of_the_same_name",
    "python -m querypose_jax.weights --to=official --input=runs/coco_r50 --output=querypose_r50.safetensors":
        "tests/weights/test_exporting.py::test_import_and_export_are_each_others_inverse",
}  # fmt: skip


def fenced(page: Path) -> str:
    """The code blocks of a page that are not Python, lines continued with a backslash joined."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join(text for language, text in blocks if language in ("", "bash")).replace("\\\n", "")


def inline(page: Path) -> str:
    """What stands between single backticks, a line for each."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text))


def commands(text: str) -> Iterator[str]:
    """Commands of this project, one space between words."""
    for line in re.split(r"\n|&&|;", text):
        if found := COMMAND.search(line):
            yield " ".join(found[1].split()).removeprefix(".venv/bin/")


FENCED = {page.name: list(commands(fenced(page))) for page in PAGES}
ALL = sorted({command for page in PAGES for command in (*FENCED[page.name], *commands(inline(page)))})


@pytest.fixture
def dry(monkeypatch):
    """Commands check what they are given and then do nothing."""
    nothing = {mode: (needed, lambda options, config: None) for mode, (needed, _) in launch.MODES.items()}
    monkeypatch.setattr(launch, "MODES", nothing)
    monkeypatch.setattr(launch, "join", lambda *told: None)
    monkeypatch.setattr(launch, "run_config", lambda options: options.config)  # there is no run
    monkeypatch.setattr(launch, "weights_folder", lambda options: "DIR")
    monkeypatch.setattr(weights, "local_file", lambda *told: Path("FILE"))
    monkeypatch.setattr(weights, "imported", lambda *told: (Path("DIR"), ["imported"]))
    monkeypatch.setattr(weights, "import_weights", lambda *told: [])
    monkeypatch.setattr(weights, "export_weights", lambda *told: [])
    monkeypatch.setattr(bench, "run_table", lambda name, config, options: "")


def exit_code(command: str) -> int:
    """Of a command that was told to do nothing; one that runs nothing of ours must name files that are there."""
    program, *arguments = shlex.split(command)
    if program == "make":
        return int(not re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE))
    if program == "pytest" or arguments[:2] == ["-m", "pytest"]:
        named = [word for word in arguments if "/" in word and not word.startswith("-")]
        return int(not all((ROOT / word).exists() for word in named))
    if arguments[0] != "-m":
        name, rest = arguments[0].removesuffix(".py"), arguments[1:]
    else:
        name, rest = arguments[1], arguments[2:]
    if "..." in rest:  # of the page's command before
        rest = ["--config=configs/coco_r50.py", "--workdir=DIR", *(word for word in rest if word != "...")]
    if name in ("input_pipeline.check", "input_pipeline.dump", "input_pipeline.convert"):
        module = {"check": check, "dump": dump, "convert": convert}[name.split(".")[1]]
        check_config(command_line.parse_flags([name, *rest], module.define_flags, None).config)
        return 0
    mains = {
        "launch": launch.main,
        "tests.toy.run": launch.main,
        "querypose_jax.weights": weights.main,
        "querypose_jax.bench": bench.main,
    }
    if name in mains:
        return mains[name]([name, *rest]) if rest else 0
    return int(not (ROOT / name.replace(".", "/")).with_suffix(".py").exists())


@pytest.mark.parametrize("command", ALL)
def test_flags_configs_and_keys_of_every_command_exist(command, dry, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert exit_code(command) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "python launch.py --config=configs/coco_r51.py --workdir=DIR",
        "python launch.py --config=configs/coco_r50.py --workdir=DIR --config.data.rot=DIR",
        "python launch.py --mode=predict --workdir=DIR --input=photo.jpg",
        "python -m querypose_jax.weights --to=official --input=DIR --outputs=FILE",
        "make demos",
        "python scripts/no_such_file.py",
    ],
)
def test_a_typo_in_a_command_is_seen(command, dry, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert exit_code(command) != 0


def test_every_command_in_a_block_is_run_by_a_test_or_says_what_it_needs():
    shown = {command for name, found in FENCED.items() if name != MEASURED for command in found}
    assert sorted(shown) == sorted(RUN_BY)
    for command, how in RUN_BY.items():
        if not how.startswith("needs "):
            path, name = how.split("::")
            assert f"def {name}(" in (ROOT / path).read_text(), command


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_reference_has_every_public_name_and_no_other():
    named = re.findall(r"^::: querypose_jax\.[\w.]*?(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(querypose_jax.__all__)


def test_the_notebook_has_the_cells_of_the_script():
    written = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
    assert written == notebook((ROOT / "docs" / "notebook.py").read_text()), "run scripts/make_notebook.py"
    assert "".join(written["cells"][2]["source"]).startswith("from pathlib import Path")


@pytest.mark.slow
def test_the_notebook_runs_as_a_script_in_an_empty_folder(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(ROOT / "docs" / "notebook.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "notebook").iterdir()}
    assert {"poses.png", "stages.png", "attention.png", "exported"} <= written
    assert "exported programs and the model agree to" in done.stdout
