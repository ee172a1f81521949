"""`querypose_jax.train` is the verb train of the command line, with callbacks."""

import json
import sys

import pytest

import launch
import querypose_jax
from querypose_jax import Callback, UserError, train
from tests import tiny_run


def config_in(folder, **changes):
    config = tiny_run.get_config()
    config.data.prepared = str(folder / "data")
    config.train.update(num_steps=4, checkpoint_every=2)
    config.eval.every = 2
    config.update_from_flattened_dict(changes)
    return config


class Listener(Callback):
    def __init__(self):
        self.heard = []

    def on_step(self, step, metrics):
        self.heard.append(("step", step))

    def on_evaluation(self, step, metrics):
        self.heard.append(("evaluation", step))

    def on_checkpoint(self, step, folder):
        self.heard.append(("checkpoint", step))

    def on_end(self, step):
        self.heard.append(("end", step))


@pytest.mark.slow
def test_it_is_the_run_of_the_command_line_to_the_bit_and_continues_it(tmp_path, capsys):
    command = ["launch.py", f"--config={tiny_run.__file__}", f"--config.data.prepared={tmp_path / 'data'}"]
    command += ["--config.train.num_steps=4", "--config.train.checkpoint_every=2", "--config.eval.every=2"]
    assert launch.main([*command, f"--workdir={tmp_path / 'command'}"]) == 0
    listener, config = Listener(), config_in(tmp_path)
    before = config.to_json()
    metrics = train(config, tmp_path / "python", [listener])
    assert config.to_json() == before
    lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("command", "python")]
    for a, b in zip(*(map(json.loads, own) for own in lines), strict=True):
        assert {k: v for k, v in a.items() if k.startswith(("loss", "grad", "keypoint"))} == {
            k: v for k, v in b.items() if k.startswith(("loss", "grad", "keypoint"))
        }
    assert metrics == json.loads((tmp_path / "command/eval/4/metrics.json").read_text())
    assert listener.heard == [
        ("step", 1), ("step", 2), ("checkpoint", 2), ("evaluation", 2), ("step", 3), ("step", 4), ("checkpoint", 4),
        ("evaluation", 4), ("end", 4),
    ]  # fmt: skip
    again = Listener()
    assert train(config, tmp_path / "command", [again]) == metrics and again.heard == [("end", 4)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.accumulate": 2}, "config.train.accumulate=2 must be 1 here"),
        ({"train.patience": 1, "eval.every": 0}, "config.train.patience=1 counts evaluations: set config.eval.every"),
        ({"data.augment.hue": 0.7}, "config.data.augment.hue=0.7 must be at most 0.5"),
        ({"data.augment.scales": (1.2, 0.8)}, "config.data.augment.scales=(1.2, 0.8) must ascend"),
        ({"data.augment.blur_sigmas": (1.0,)}, "config.data.augment.blur_sigmas=(1.0,) must be two numbers"),
        ({"data.name": "imagenet"}, "data.name 'imagenet' is unknown"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(UserError) as refused:
        train(config_in(tmp_path, **changes), tmp_path / "run")
    assert message in str(refused.value) and not (tmp_path / "run").exists()


def test_what_is_no_callback_is_refused_before_data_are_prepared(tmp_path):
    with pytest.raises(UserError, match="derive it from querypose_jax.Callback and give an instance"):
        train(config_in(tmp_path), tmp_path / "run", [Listener])
    assert not (tmp_path / "data").exists()


def test_without_tensorflow_the_remedy_is_told(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("input_pipeline", "querypose_jax.runs.train"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["querypose_jax.runs"], "train", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match=r"tensorflow is not installed; pip install '.\[train\]'"):
        querypose_jax.train(config_in(tmp_path), tmp_path / "run")
