import pytest

from configs import coco_r50, synthetic_tiny
from querypose_jax.checkpoints.config_json import check_same_run, model_hash, read_config, write_config
from querypose_jax.errors import UserError


@pytest.mark.parametrize("module", [coco_r50, synthetic_tiny])
def test_a_written_configuration_reads_back_equal_tuples_included(module, tmp_path):
    config = module.get_config()
    write_config(tmp_path, config)
    restored = read_config(tmp_path)
    assert restored == config
    assert isinstance(restored.data.canvases[0], tuple)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_steps_schedule_and_data_folder_may_change_between_two_starts(tmp_path):
    config = synthetic_tiny.get_config()
    write_config(tmp_path, config)
    config.train.num_steps = 10
    config.optimizer.learning_rate = 1.0
    config.data.root = "/somewhere/else"
    check_same_run(tmp_path, config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.dim", 32, "model.dim is 64 there and 32 here"),
        ("data.flip", 0.25, "data.flip is 0.5 there and 0.25 here"),
        ("train.seed", 7, "train.seed is 0 there and 7 here"),
    ],
)
def test_another_model_data_or_seed_is_refused_in_one_line(key, value, message, tmp_path):
    config = synthetic_tiny.get_config()
    write_config(tmp_path, config)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        check_same_run(tmp_path, config)


def test_weights_to_start_from_are_not_taken_by_a_run_that_goes_on_and_may_be_left_out_then(tmp_path):
    config = synthetic_tiny.get_config()
    config.init_from = "runs/demo"
    write_config(tmp_path, config)
    check_same_run(tmp_path, config)
    config.init_from = ""
    check_same_run(tmp_path, config)
    config.init_map = (("head", "nose"),)
    with pytest.raises(UserError, match=r"config.init_map is read where a run starts, and .* use another workdir"):
        check_same_run(tmp_path, config)


def test_a_broken_or_missing_file_names_its_path(tmp_path):
    with pytest.raises(UserError, match=r"config.json: no such file"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: not a JSON file"):
        read_config(tmp_path)


def test_the_hash_tells_models_apart_and_nothing_else():
    config, other = synthetic_tiny.get_config(), synthetic_tiny.get_config()
    other.train.num_steps = 1
    assert model_hash(config) == model_hash(other)
    other.model.stages = 3
    assert model_hash(config) != model_hash(other)
