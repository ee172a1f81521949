from pathlib import Path

from querypose_jax.checkpoints.results import evaluation_folder, plain_evaluation
from tests import tiny_run


def test_what_training_does_not_evaluate_gets_a_folder_of_its_own():
    config, workdir = tiny_run.get_config(), Path("run")

    def folder(**changes) -> str:
        changed = config.copy_and_resolve_references()
        changed.eval.update(changes)
        return str(evaluation_folder(changed, workdir, 7).relative_to(workdir))

    assert folder() == folder(split="val") == "eval/7"  # val is data.eval_split
    assert folder(split="test-dev") == "eval/7/test-dev"
    assert folder(flip=True) == "eval/7/flip"
    assert folder(split="train", flip=True) == "eval/7/train/flip"
    assert folder(image_filter="with_person", flip=True) == "eval/7/with_person/flip"


def test_evaluations_during_training_are_plain_whatever_the_configuration_says():
    config = tiny_run.get_config()
    config.eval.update(split="test-dev", flip=True, image_filter="with_person", released_rescore=True)
    plain = plain_evaluation(config)
    assert (plain.eval.split, plain.eval.flip, plain.eval.released_rescore) == ("", False, True)
    assert plain.eval.image_filter == "all"
    assert config.eval.flip
