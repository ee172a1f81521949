"""An evaluation in two processes is that of one: each picture once, the same people, the same metrics."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.models.registry import build_model
from tests import tiny_run
from tests.multi_device.chunks import BOX_SCORES, PRUNING
from tests.multi_device.together import FAST, run_together

PICTURES = 5  # neither batches of two nor of four hold them without filler


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A model with more queries than the pose stages take at a time; nothing is learnt, so that many are wanted."""
    folder = tmp_path_factory.mktemp("evaluation")
    config = tiny_run.get_config()
    config.model.update(num_proposals=40, proposal_grid=(5, 8))
    config.data.prepared = str(folder / "data")
    config.data.synthetic.val_pictures = PICTURES
    save_model(folder / "run", config, nnx.state(build_model(config, rngs=nnx.Rngs(0))))
    return folder / "run"


def evaluated(run: Path, name: str, processes: int, *overrides: str) -> tuple[dict[str, float], list[dict]]:
    """Metrics and people of an evaluation by the command line, one device per process."""
    workdir = run.parent / name
    shutil.copytree(run, workdir)

    def arguments(port: int, process: int) -> list[str]:
        one = ["launch.py", "--mode=eval", f"--workdir={workdir}", *overrides]
        told = [f"--coordinator=localhost:{port}", f"--num_processes={processes}", f"--process_id={process}"]
        return [*one, *told] if processes > 1 else one

    run_together(arguments, processes, devices=processes, flags=FAST)
    results = workdir / "eval" / "0"
    return tuple(json.loads((results / name).read_text()) for name in ("metrics.json", "detections.json"))


@pytest.mark.slow
@pytest.mark.parametrize("prune", [False, True])
def test_two_processes_give_the_metrics_of_one(run, prune):
    change = f"--config.eval.prune={prune}"
    metrics, people = evaluated(run, f"one_{prune}", 1, change)
    both_metrics, both_people = evaluated(run, f"two_{prune}", 2, change)
    if prune:
        assert both_metrics["pruning/widened"] > 0  # pictures of both wait for each other's chunks
    plain, both_plain = (
        {name: value for name, value in found.items() if not name.startswith("pruning/")}
        for found in (metrics, both_metrics)
    )
    assert both_plain == plain
    assert prune or any(0 < value < 1 for value in plain.values())  # untrained, only its boxes hit somebody
    assert len({person["image_id"] for person in people}) == PICTURES
    assert [person["image_id"] for person in both_people] == [person["image_id"] for person in people]
    for name in ("score", "bbox", "keypoints"):
        found, expected = (np.array([person[name] for person in kind], float) for kind in (both_people, people))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_whether_to_run_more_queries_is_decided_by_all_processes_alike():
    def arguments(port: int, process: int, count: int) -> list[str]:
        return ["-m", "tests.multi_device.chunks", str(port), str(process), str(count)]

    said = [run_together(lambda port, i, n=n: arguments(port, i, n), processes=n, devices=n) for n in (1, 2)]
    one, two = (json.loads(text.splitlines()[-1]) for text in said)  # gloo talks before
    assert BOX_SCORES[0, PRUNING.chunk] < BOX_SCORES[0, PRUNING.best - 1]  # its first ten would do for one picture
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["ran"] == one["ran"] == [40, 40]  # for the second picture's sake, by the other process too
    assert two["best"] == one["best"]
