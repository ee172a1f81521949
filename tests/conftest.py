"""Set before anything imports jax or tensorflow: the tests compare numbers, on the CPU, quietly."""

import contextlib
import os
import tempfile

import pytest

with contextlib.suppress(ModuleNotFoundError):
    import triton  # noqa: F401  comes with torch; loaded after tensorflow it ends the process

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax

from kernels.assignment.callback import give_callbacks_a_thread

give_callbacks_a_thread()


def pytest_configure(config):
    """Tests compile the same programs again and again: each worker keeps them, for itself and as long as it lives.

    Not by the environment: what tests start and kill could leave half a program.
    """
    folder = tempfile.TemporaryDirectory(prefix="compiled-")
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def torch():
    """PyTorch; whatever asks for it is skipped where it is not installed."""
    return pytest.importorskip("torch", reason="torch is not installed: nothing to compare with")


def pytest_collection_modifyitems(items):
    """What asks for torch has its mark: `make test-torch` runs it."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")
