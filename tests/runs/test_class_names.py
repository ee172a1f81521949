"""Classes by name through the verbs: files may list them in any order, labels mean the same."""

import json
from pathlib import Path

import pytest

import launch
from tests.insects import write_insects

CONFIG = f"--config={Path(__file__).parent.parent / 'insect_run.py'}"


def swap_ids(path: Path) -> None:
    """Exchanges the ids of the two classes: by id they come in another order then."""
    content = json.loads(path.read_text())
    other = {3: 7, 7: 3}
    for entry in content["categories"]:
        entry["id"] = other[entry["id"]]
    for entry in content["annotations"]:
        entry["category_id"] = other[entry["category_id"]]
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_labels_mean_the_same_in_training_evaluation_and_runs_that_start_from_it(tmp_path, capsys):
    root, run = tmp_path / "insects", tmp_path / "run"
    write_insects(root, train=4, val=3)
    keys = [
        f"--config.data.root={root}", f"--config.data.prepared={tmp_path}/prepared", "--config.train.num_steps=1",
        "--config.data.custom.categories=()",
    ]  # fmt: skip
    assert launch.main(["launch.py", CONFIG, f"--workdir={run}", *keys]) == 0
    scores = json.loads((run / "eval" / "1" / "metrics.json").read_text())

    swap_ids(root / "annotations" / "val.json")
    assert launch.main(["launch.py", f"--workdir={run}", "--mode=eval"]) == 0
    assert json.loads((run / "eval" / "1" / "metrics.json").read_text()) == pytest.approx(scores, abs=1e-6)

    swap_ids(root / "annotations" / "train.json")
    capsys.readouterr()
    assert launch.main(["launch.py", CONFIG, f"--workdir={run}", *keys, "--config.train.num_steps=2"]) == 2
    assert "trained on the classes beetle, ant, here they are ant, beetle" in capsys.readouterr().err
    start = [f"--config.init_from={run}", f"--workdir={tmp_path}/next"]
    assert launch.main(["launch.py", CONFIG, *keys, *start, "--config.train.num_steps=0"]) == 0
    out = capsys.readouterr().out
    assert "classes kept: ant, beetle" in out  # row by row: the weights had them the other way round
    assert "drawn" not in out.replace("drawn anew       0", "")
