import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import find_step, save_model
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.layers.frozen import Frozen
from querypose_jax.training.bad_steps import NonFiniteError
from querypose_jax.training.loop import train, warn_of_frozen
from tests.training.fakes import FakeModel, fake_batches, fake_config


def lines(workdir) -> list[dict]:
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in found}) == len(found)
    return found


def losses(workdir) -> dict[int, float]:
    return {line["step"]: line["loss/total"] for line in lines(workdir)}


def test_a_run_logs_the_first_every_second_and_the_last_step(tmp_path):
    state = train(fake_config(num_steps=7), fake_batches(), tmp_path)
    assert int(state.step) == 7
    assert list(losses(tmp_path)) == [1, 2, 4, 6, 7]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["5", "7"]


def test_a_continued_run_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    whole = train(fake_config(), fake_batches(), tmp_path / "whole")

    class Killed(Exception):
        pass

    def dying_batches(start_step):
        for step, batch in enumerate(fake_batches()(start_step), start_step):
            if step == 9:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        train(fake_config(), dying_batches, tmp_path / "parts")
    assert find_step(tmp_path / "parts") == 5
    parts = train(fake_config(), fake_batches(), tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(tmp_path):
    train(fake_config(), fake_batches(), tmp_path)
    before = losses(tmp_path)
    train(fake_config(), fake_batches(), tmp_path)
    assert losses(tmp_path) == before
    assert int(train(fake_config(num_steps=14), fake_batches(), tmp_path).step) == 14
    assert list(losses(tmp_path)) == [*before, 14]


def test_the_configuration_on_disk_is_that_of_the_last_step_made(tmp_path, capsys):
    def on_disk() -> float:
        return json.loads((tmp_path / "config.json").read_text())["optimizer"]["learning_rate"]

    def refused(start_step):
        raise UserError("no data")

    train(fake_config(), fake_batches(), tmp_path)
    other, longer = fake_config(), fake_config(num_steps=14)
    other.optimizer.learning_rate = longer.optimizer.learning_rate = 0.5
    train(other, fake_batches(), tmp_path)
    assert on_disk() == 1e-3
    with pytest.raises(UserError, match="no data"):
        train(longer, refused, tmp_path)
    assert on_disk() == 1e-3
    train(other, fake_batches(), tmp_path, evaluate=lambda model, step: {"keypoint/AP": 0.5})  # evaluates, trains not
    assert on_disk() == 1e-3
    assert "learning_rate" not in capsys.readouterr().out
    train(longer, fake_batches(), tmp_path)
    assert on_disk() == 0.5
    said = capsys.readouterr().out
    assert "goes on with optimizer.learning_rate 0.001 -> 0.5, train.num_steps 12 -> 14" in said


def test_a_first_step_that_ends_the_run_leaves_the_configuration_to_replay_it(tmp_path):
    with pytest.raises(NonFiniteError):
        train(fake_config(max_bad_steps=1), fake_batches(poisoned_step=0), tmp_path)
    assert (tmp_path / "config.json").exists()


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    donor = FakeModel(nnx.Rngs(0))
    donor.backbone.bias[...] = jnp.full(8, jnp.inf)
    save_model(tmp_path / "donor", fake_config(), nnx.state(donor))
    config = fake_config(checkpoint_every=3)
    config.init_from = str(tmp_path / "donor")
    with pytest.raises(NonFiniteError, match=r"^step 3: parameters or statistics are not finite; nothing was saved"):
        train(config, fake_batches(), tmp_path / "run")
    assert find_step(tmp_path / "donor") == 0
    assert not list(tmp_path.glob("run/checkpoints/[0-9]*"))


def test_evaluation_is_called_when_due_and_at_the_end_and_its_numbers_are_logged(tmp_path):
    seen = []

    def evaluate(model_state, step):
        seen.append(step)
        return {"keypoint/AP": 1.0 / step}

    config = fake_config()
    config.eval.every = 3
    config.train.keep_last = 1
    train(config, fake_batches(), tmp_path, evaluate)
    assert seen == [3, 6, 9, 12]
    assert {line["step"]: line["keypoint/AP"] for line in lines(tmp_path) if "keypoint/AP" in line} == {
        s: 1 / s for s in seen
    }
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["12", "3"]  # the last, the best


def scores_in_files(workdir, seen: list[int], dies_at: int | None = None):
    """An evaluation that leaves its file, as the real one does; step 6 is the best."""

    def evaluate(model_state, step):
        assert find_step(workdir, step) == step  # nothing is lost if this fails
        if step == dies_at:
            raise KeyboardInterrupt
        seen.append(step)
        metrics = {"keypoint/AP": 1.0 - abs(step - 6) / 10}
        write_json(workdir / "eval" / str(step) / "metrics.json", metrics)
        return metrics

    return evaluate


@pytest.mark.parametrize("dies_at", [3, 6, 12])
def test_a_run_that_ends_during_an_evaluation_keeps_its_step_and_continues_with_the_evaluation(tmp_path, dies_at):
    config = fake_config(log_every=1, keep_last=1)
    config.eval.every = 3
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, fake_batches(), whole, scores_in_files(whole, []))

    before, after = [], []
    with pytest.raises(KeyboardInterrupt):
        train(config, fake_batches(), parts, scores_in_files(parts, before, dies_at))
    assert find_step(parts) == dies_at
    train(config, fake_batches(), parts, scores_in_files(parts, after))
    assert before + after == [3, 6, 9, 12]
    assert losses(parts) == losses(whole)
    assert [line["keypoint/AP"] for line in lines(parts) if "keypoint/AP" in line] == [0.7, 1.0, 0.7, 0.4]
    for workdir in (whole, parts):
        assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["12", "6"]


def test_a_finished_run_is_evaluated_once(tmp_path):
    seen = []
    for _ in range(2):
        train(fake_config(), fake_batches(), tmp_path, scores_in_files(tmp_path, seen))
    assert seen == [12]
    (tmp_path / "eval" / "12" / "metrics.json").unlink()
    train(fake_config(), fake_batches(), tmp_path, scores_in_files(tmp_path, seen))
    assert seen == [12, 12]
    assert list(losses(tmp_path)) == [1, 2, 4, 6, 8, 10, 12]


def test_disk_never_holds_more_than_the_last_and_the_best(tmp_path):
    score, held = scores_in_files(tmp_path, []), {}

    def evaluate(model_state, step):
        held[step] = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
        return score(model_state, step)

    config = fake_config(keep_last=2)
    config.eval.every = 2
    train(config, fake_batches(), tmp_path, evaluate)
    assert held[10] == [6, 8, 10]
    assert max(map(len, held.values())) == 3


def test_frozen_random_weights_are_warned_of_unless_weights_are_given(tmp_path, capsys):
    kernel = Frozen(jnp.ones((3, 3)))
    rest = nnx.state(nnx.Dict(stem=nnx.Dict(kernel=kernel), norm=nnx.Dict(scale=Frozen(jnp.ones(3)))))
    warn_of_frozen(rest, {"stem.kernel", "norm.scale"})
    line = capsys.readouterr().out
    assert line.startswith("warning: 1 frozen kernels (stem.kernel, ...) are random")
    assert "--config.init_from" in line
    warn_of_frozen(rest, {"head.kernel"})
    assert capsys.readouterr().out == ""


def test_other_data_or_another_model_is_refused_and_the_run_stays_as_it_was(tmp_path):
    train(fake_config(), fake_batches(), tmp_path, fingerprint="one")
    before = (tmp_path / "config.json").read_text(), losses(tmp_path)
    with pytest.raises(UserError, match="other data .*fingerprint one, now two"):
        train(fake_config(num_steps=20), fake_batches(), tmp_path, fingerprint="two")
    other = fake_config()
    other.model.width = 32
    with pytest.raises(UserError, match="model.width is 8 there and 32 here"):
        train(other, fake_batches(), tmp_path, fingerprint="one")
    assert ((tmp_path / "config.json").read_text(), losses(tmp_path)) == before


def test_a_run_starts_from_given_weights(tmp_path, capsys):
    donor = FakeModel(nnx.Rngs(77))
    save_model(tmp_path / "donor", fake_config(), nnx.state(nnx.Dict(backbone=donor.backbone)))
    config = fake_config(num_steps=1)
    config.init_from = str(tmp_path / "donor")
    config.optimizer.learning_rate = 0.0
    state = train(config, fake_batches(), tmp_path / "run")
    np.testing.assert_array_equal(state.params["backbone"]["kernel"][...], donor.backbone.kernel[...])
    out = capsys.readouterr().out
    assert "kept whole       2 arrays" in out
    assert "drawn anew       7 arrays" in out


def test_batches_that_end_early_are_one_line(tmp_path):
    def three(start_step):
        return (batch for batch, _ in zip(fake_batches()(start_step), range(3), strict=False))

    with pytest.raises(UserError, match="ended before step 4"):
        train(fake_config(), three, tmp_path)


def test_training_imports_neither_tensorflow_nor_the_input_pipeline():
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'input_pipeline')]"
    code = f"import sys, querypose_jax.training.loop; print({heavy})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
