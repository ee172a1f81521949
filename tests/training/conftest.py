import pytest

from querypose_jax.training import checkpoint, loop
from tests.training.fakes import FakeModel


@pytest.fixture
def fake_model(monkeypatch):
    """Training and checkpoints build the fake model in place of the configured one."""

    def build(config, *, rngs):
        return FakeModel(rngs, width=config.model.get("fake_width", 8))

    monkeypatch.setattr(loop, "build_model", build)
    monkeypatch.setattr(checkpoint, "build_model", build)
    return build
