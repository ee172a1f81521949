import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from querypose_jax.devices import agreement
from querypose_jax.errors import UserError
from tests.training.fakes import fake_config


@pytest.fixture
def other_process(monkeypatch):
    """A second process that brings what is put into the list, in the order of the facts; None = the same."""
    brings: list[bool] = []

    def gather(own: np.ndarray) -> np.ndarray:
        other = own.copy()
        for fact, same in enumerate(brings):
            other[fact] = own[fact] if same else own[fact] ^ 1
        return np.stack([own, other])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    return brings


def test_equal_processes_agree(other_process):
    agreement.check_agreement(fake_config(), "abc", 5)


@pytest.mark.parametrize(
    ("fact", "name"),
    [
        (0, "the configuration"),
        (1, "the data (fingerprint)"),
        (2, "the code"),
        (3, "the version of jax"),
        (4, "the newest checkpoint"),
    ],
)
def test_what_differs_is_named(other_process, fact, name):
    other_process += [number != fact for number in range(5)]
    with pytest.raises(UserError) as error:
        agreement.check_agreement(fake_config(), "abc", None)
    assert f"do not agree: {name}" in str(error.value)
    assert str(error.value).count("of process 1 is not that of process 0") == 1


def test_where_data_are_read_may_differ_and_what_is_trained_may_not(monkeypatch):
    seen = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement, "compare", seen.append)
    config = fake_config()
    for key, value in (("data.root", "/mnt"), ("data.workers", 7), ("optimizer.learning_rate", 1.0)):
        agreement.check_agreement(config, "", None)
        config.update_from_flattened_dict({key: value})
    agreement.check_agreement(config, "", None)
    assert seen[0] == seen[1] == seen[2] != seen[3]


def test_a_process_alone_asks_nobody(monkeypatch):
    monkeypatch.setattr(multihost_utils, "process_allgather", None)
    agreement.check_agreement(fake_config(), "abc", 5)


def test_the_code_version_follows_every_file(tmp_path, monkeypatch):
    for package in agreement.CODE:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(agreement.querypose_jax, "__file__", str(tmp_path / "querypose_jax" / "__init__.py"))
    before = agreement.code_version()
    assert before == agreement.code_version()
    (tmp_path / "kernels" / "__init__.py").write_text("x = 1")
    assert agreement.code_version() != before
