"""Files of weights: .pth and .pt of PyTorch, .pkl of detectron2, .safetensors; each read without trusting it."""

import hashlib
import importlib.metadata
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  numpy knows bfloat16 by name after this import
import numpy as np
import safetensors.numpy

from querypose_jax.errors import UserError
from querypose_jax.weights.pickles import Refused, UnpicklingError, read_pickle

# Earlier ones run code or corrupt memory even with weights_only=True: CVE-2025-32434 (2.6), CVE-2026-24747 (2.10).
OLDEST_TORCH = (2, 10)
WRAPPERS = ("model", "state_dict")  # keys under which a file may keep its state dict


class WeightsFile(NamedTuple):
    """The tensors of a file."""

    tensors: dict[str, np.ndarray]
    other: list[str]  # names of entries that are no tensors or lie beside the state dict: iteration, optimizer
    sha256: str


def read_weights(path: Path) -> WeightsFile:
    """Reads a file of weights; its ending says which kind it is.

    Raises:
        UserError: no such file, another kind of file, a damaged one, or one that asks for more than tensors.
    """
    readers: dict[str, Callable[[Path], Any]] = {
        ".pth": read_torch,
        ".pt": read_torch,
        ".pkl": lambda path: read_pickle(path.read_bytes()),
        ".safetensors": safetensors.numpy.load_file,
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: the ending of a weights file is one of {', '.join(readers)}; rename it")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a file of weights with --input=FILE")
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        content = readers[path.suffix](path)
    except UserError:
        raise
    except Refused as error:
        raise UserError(
            f"{path} asks for {short(error)}, which could run code; not read: weights need arrays only"
        ) from None
    except Exception as error:  # damaged files fail in every way there is
        raise UserError(f"{path}: not a whole {path.suffix} file ({short(error)}); get it again") from None
    tensors, other = state_dict(content)
    if not tensors:
        raise UserError(f"{path}: no tensors in it; name a file that holds a state dict")
    return WeightsFile(tensors, other, checksum)


def read_torch(path: Path) -> Any:
    """Content of a file of torch.save with numpy arrays for tensors. Needs torch.

    Raises:
        UserError: torch is missing or too old.
        Refused: the file holds more than tensors and plain containers.
    """
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    oldest = ".".join(map(str, OLDEST_TORCH))
    if not version:
        raise UserError(f"{path}: torch reads this file and is not installed; pip install 'torch>={oldest}'")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TORCH:
        raise UserError(
            f"{path}: torch {version} can be made to run code by such a file; pip install 'torch>={oldest}'"
        )
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # about its own past formats
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise Refused(asked[1].rstrip(".")) from None
        raise ValueError(str(error).partition("WeightsUnpickler error: ")[2] or "not a pickle of tensors") from None

    def to_numpy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.detach()
            return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
        return {key: to_numpy(item) for key, item in value.items()} if isinstance(value, Mapping) else value

    return to_numpy(content)


def state_dict(content: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """The named arrays of a file's content, and the names of what else is there.

    The state dict may lie under "model" or "state_dict"; a prefix "module." that all of its names have (of
    DistributedDataParallel) is left out.
    """
    if not isinstance(content, Mapping):
        return {}, []
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    inner = content if wrapper is None else content[wrapper]
    other = [] if wrapper is None else [str(key) for key in content if key != wrapper]
    tensors = {key: x for key, x in inner.items() if isinstance(key, str) and isinstance(x, np.ndarray)}
    other += [str(key) for key in inner if key not in tensors]
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): x for name, x in tensors.items()}
    return tensors, other


def short(error: Exception) -> str:
    """The first words of an error; what a terminal could take for a command becomes a question mark."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    return text[:100].rstrip(".") or type(error).__name__
