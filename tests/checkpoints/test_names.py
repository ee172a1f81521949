"""What a label means is kept with a run, and no other run or data set may mean something else by it."""

import pytest
from flax import nnx

from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.checkpoints.names import Names, check_same_names, check_start, saved_names
from querypose_jax.errors import UserError
from querypose_jax.training.loop import train
from tests.training.fakes import FakeModel, fake_batches, fake_config

PETS = Names(("cat", "dog"), ("nose", "tail"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(fake_config(num_steps=2, checkpoint_every=1), fake_batches(), folder, names=PETS)
    return folder


def test_every_checkpoint_of_a_run_has_its_names(run):
    assert saved_names(run) == saved_names(run, 1) == PETS


def test_imported_weights_have_none_and_are_no_hindrance(tmp_path):
    save_model(tmp_path, fake_config(), nnx.state(FakeModel(nnx.Rngs(0))))
    assert saved_names(tmp_path) is None
    assert check_start(tmp_path, PETS) == ""


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (PETS._replace(classes=("dog", "cat")), "trained on the classes cat, dog, here they are dog, cat; "),
        (PETS._replace(classes=("cat",)), "trained on the classes cat, dog, here they are cat; "),
        (PETS._replace(classes=("cat", "cow")), "trained on the classes cat, dog, here they are cat, cow; "),
        (PETS._replace(joints=("tail", "nose")), "trained on the joints nose, tail, here they are tail, nose; "),
    ],
)
def test_a_run_goes_on_and_is_scored_under_its_own_names(run, names, message):
    check_same_names(run, saved_names(run), PETS)
    with pytest.raises(UserError, match=message) as error:
        check_same_names(run, saved_names(run), names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (PETS._replace(classes=("dog", "cat")), r"'dog' at another place; .*\(config.data.custom.categories\)"),
        (
            PETS._replace(classes=("dog", "cow")),
            "its classes are cat, dog, here they are dog, cow, with 'dog' at another",
        ),
        (PETS._replace(joints=("tail", "nose")), r"'tail' at another place; .*\(config.data.skeleton.names\)"),
    ],
)
def test_weights_in_which_a_name_has_another_place_are_no_start(run, names, message):
    with pytest.raises(UserError, match=message) as error:
        check_start(run, names)
    assert "\n" not in str(error.value)


def test_weights_may_be_transferred_to_other_classes_and_joints_which_is_said(run):
    assert check_start(run, PETS) == ""
    said = check_start(run, Names(("cat", "cow"), ("beak", "wing")))
    assert "its classes were cat, dog, from now on they are cat, cow; its joints were nose, tail, from now on" in said
    assert "classes were" in check_start(run, PETS._replace(classes=("dog",)))  # other shapes: init_from says which
