"""Every table runs on a small model through the command line; the peer's rows appear where torch is installed."""

import importlib.util
import os

import pytest

from querypose_jax.bench import __main__ as command

SMALL = [
    "--config=configs/synthetic_tiny.py",
    "--rounds=1",
    "--canvas=64x96",
    "--config.model.stages=1",
    "--config.model.num_proposals=6",
    "--config.model.proposal_grid=(2, 3)",
]


def rows(table: str, *flags: str, capsys) -> list[list[str]]:
    assert command.main(["bench", table, *SMALL, *flags]) == 0
    out = capsys.readouterr().out
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")][2:]


def has_peer() -> bool:
    return bool(os.environ.get("QUERYPOSE_PEER")) and importlib.util.find_spec("torch") is not None


@pytest.mark.slow
def test_inference_has_a_row_for_all_for_a_fixed_number_and_for_exact_pruning(capsys):
    table = rows("inference", capsys=capsys)
    assert [row[0] for row in table[:3]] == ["all", "fixed k=30", "exact on these weights"]
    assert all(float(row[4]) > 0 for row in table)


@pytest.mark.slow
def test_train_times_a_step(capsys):
    table = rows("train", "--people=2", capsys=capsys)
    assert table[0][0] == "training step" and float(table[0][1]) >= 0


@pytest.mark.slow
@pytest.mark.torch  # whose rows there are where it is installed
def test_roi_align_times_both_cases_and_both_directions(capsys):
    table = rows("roi_align", capsys=capsys)
    ours = [row for row in table if not row[1].startswith("peer")]
    assert {row[0] for row in ours} == {"7x7, P2..P5", "14x14, P2"}
    assert {row[1] for row in ours} == {
        f"{path} {way}" for path in ("gather", "dense") for way in ("forward", "forward + backward")
    }
    assert (len(table) > len(ours)) == has_peer()


@pytest.mark.slow
def test_start_takes_longest_cold_and_reads_programs_back(capsys):
    table = {row[0]: row[1:] for row in rows("start", capsys=capsys)}
    assert list(table) == ["launch.py, cold", "launch.py, warm", "Predictor, cold", "Predictor, warm"]
    assert all(float(row[-1]) > 0 for row in table.values())
    cold, warm = (float(table[f"Predictor, {way}"][3]) for way in ("cold", "warm"))
    assert warm < cold  # the compiler's share


@pytest.mark.slow
def test_decode_finds_up_to_ten_people(capsys):
    small = ["--config=configs/simplepose/synthetic_tiny.py", "--rounds=1", "--canvas=320x320"]
    assert command.main(["bench", "decode", *small]) == 0
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    found = {int(row[1]): int(row[3]) for row in table if row[2].strip() == "ours"}
    assert found[1] == 1 and found[10] == 10 and found[50] >= 32  # candidates of a joint


def test_decode_is_for_the_family_that_groups_joints(capsys):
    assert command.main(["bench", "decode", *SMALL]) == 2
    assert "model.name=querypose groups no joints" in capsys.readouterr().err


def test_deformable_attention_times_encoder_and_decoder_in_both_directions(capsys):
    table = rows("deformable_attention", capsys=capsys)
    ours = [row for row in table if not row[1].startswith("peer")]
    assert [(row[0], row[1]) for row in ours] == [
        (f"{case}, {way}", "gather") for case in ("encoder", "decoder") for way in ("forward", "forward + backward")
    ]
    assert all(float(row[4]) > 0 for row in ours)
    assert (len(table) > len(ours)) == has_peer()


def test_matching_times_both_solvers_beside_scipy(capsys):
    table = rows("matching", capsys=capsys)
    assert {row[2] for row in table} == {"scipy alone", "callback", "device"}


@pytest.mark.slow
def test_compile_shows_that_only_programs_without_callbacks_are_stored(capsys):
    table = {row[0]: row for row in rows("compile", "--people=2", capsys=capsys)}
    callback, device = (table[f"training step, matching by {solver}"] for solver in ("callback", "device"))
    assert float(device[5]) < float(device[3]) / 2, "read from the cache"
    assert float(callback[5]) > float(callback[3]) / 2, "compiled again"


def test_a_canvas_that_is_none_is_one_line(capsys):
    assert command.main(["bench", "matching", SMALL[0], "--canvas=100x90"]) == 2
    assert "--canvas=100x90 is not HEIGHTxWIDTH in multiples of 32" in capsys.readouterr().err


def test_a_way_to_run_the_peer_that_is_none_is_one_line(capsys):
    assert command.main(["bench", "train", SMALL[0], "--peers=eager:float32,fast"]) == 2
    assert "--peers=fast is no way to run the peer" in capsys.readouterr().err
