"""The ranking of ablations: what counts as finished, and what the table makes of it. Nothing is trained here."""

import json
import sys

import pytest

from configs import ablations_tiny
from configs.ablations import VARIANTS
from scripts import rank_ablations

STEPS = ablations_tiny.get_config().train.num_steps


def write_run(output, variant, seed, ap, class_loss=0.5, steps=STEPS):
    folder = rank_ablations.run_folder(output, variant, seed)
    (folder / "eval" / str(steps)).mkdir(parents=True)
    stages = ablations_tiny.get_config().model.stages
    names = [f"loss/loss_ce_{stage}" for stage in range(stages - 1)] + ["loss/loss_ce"]
    logged = [dict.fromkeys(names, 100.0)] * 5 + [dict.fromkeys(names, class_loss)] * 10
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in logged))
    (folder / "eval" / str(steps) / "metrics.json").write_text(json.dumps({"keypoint/AP": ap, "keypoint/AP50": 2 * ap}))


def test_table_has_means_deviations_every_seed_and_the_last_class_losses_best_first(tmp_path):
    for seed, ap in enumerate((0.1, 0.2, 0.3)):
        write_run(tmp_path, "default", seed, ap)
    write_run(tmp_path, "iteration=none", 1, 0.4, class_loss=0.25)
    text = rank_ablations.table(tmp_path, ["default", "iteration=none", "parts=5"], [0, 1, 2], STEPS)
    rows = text.strip().splitlines()
    assert rows[0].startswith("| variant | mean AP | deviation | seed 0 | seed 1 | seed 2 | mean AP50 | class loss 1 |")
    assert rows[2].startswith("| `iteration=none` | 0.400 | - | - | 0.400 | - | 0.800 | 0.250 |")
    assert rows[3].startswith("| `default` | 0.200 | 0.100 | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 |")
    assert len(rows) == 4, "what has no run has no row"
    assert len({row.count("|") for row in rows}) == 1


def test_finished_runs_are_not_run_again_and_unfinished_ones_are(tmp_path, monkeypatch, capsys):
    started = []

    def train(output, variant, seed, steps, core):
        started.append((variant, seed, core))
        write_run(output, variant, seed, 0.3)

    monkeypatch.setattr(rank_ablations, "train", train)
    write_run(tmp_path, "default", 0, 0.1)
    write_run(tmp_path, "default", 1, 0.1, steps=STEPS // 2)
    rank_ablations.run_folder(tmp_path, "default", 1).rename(tmp_path / "shorter")
    arguments = [f"--output={tmp_path}", "--seeds=0,1", "--variants=default,iteration=none", "--cores=1"]
    monkeypatch.setattr(sys, "argv", ["rank_ablations.py", *arguments])
    rank_ablations.main()
    assert started == [("iteration=none", 0, 1), ("default", 1, 1), ("iteration=none", 1, 1)]
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out


def test_a_run_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_ablations, "ROOT", tmp_path)  # no launch.py
    with pytest.raises(RuntimeError, match="default, seed 0: exit code 2: .*launch.py"):
        rank_ablations.train(tmp_path, "default", 0, STEPS, None)


def test_every_ranked_variant_exists_and_is_a_model_of_its_own():
    assert set(rank_ablations.RANKED) <= set(VARIANTS)
    configs = [str(ablations_tiny.get_config(variant)) for variant in rank_ablations.RANKED]
    assert len(set(configs)) == len(configs)


def test_unknown_variants_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rank_ablations.py", f"--output={tmp_path}", "--variants=iteration=sum"])
    with pytest.raises(SystemExit, match="variant 'iteration=sum' is unknown; known: default"):
        rank_ablations.main()
