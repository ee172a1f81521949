"""Files of weights: .pth and .pt of PyTorch, .pkl of detectron2, .safetensors; each read without trusting it."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from querypose_jax.errors import UserError, one_line
from querypose_jax.weights.pickles import Refused, read_pickle
from querypose_jax.weights.strangers import what_it_is
from querypose_jax.weights.torch_files import Tensor, read_torch

# Keys under which a file may keep its state dict; the first that is there is read, the others are named.
WRAPPERS = ("model", "state_dict", "model_state_dict", "ema_model")


class WeightsFile(NamedTuple):
    """The tensors of a file."""

    tensors: dict[str, np.ndarray]
    other: list[str]  # names of entries that are no tensors or lie beside the state dict: iteration, optimizer
    sha256: str
    metadata: Mapping[str, str] = MappingProxyType({})  # what a .safetensors file says of itself


READERS: dict[str, Callable[[Path], Any]] = {
    ".pth": read_torch,
    ".pt": read_torch,
    ".pkl": lambda path: read_pickle(path.read_bytes()),
    ".safetensors": safetensors.numpy.load_file,
}
PADDLE = ".pdparams"


def check_file(path: Path) -> None:
    """Whether there is a file that may hold weights; looks at its first bytes only.

    Raises:
        UserError: no such file, another kind of file by its name, or certainly no weights by its first bytes.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file of weights")
    if path.suffix == PADDLE:
        raise UserError(f"{path}: is a file of Paddle, which is not read here; name the one for PyTorch")
    if path.suffix not in READERS:
        raise UserError(f"{path}: not a file of weights by its name, which ends in one of {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a file of weights")
    if stranger := what_it_is(path):
        raise UserError(f"{path} is {stranger}")


def read_weights(path: Path) -> WeightsFile:
    """Reads a file of weights; its ending says which kind it is.

    Raises:
        UserError: no such file, another kind of file, a damaged one, or one that asks for more than tensors.
    """
    check_file(path)
    try:
        tensors, other = state_dict(READERS[path.suffix](path))
    except UserError:
        raise
    except Refused as error:
        raise UserError(
            f"{path} asks for {short(error)}, which could run code; not read: weights need arrays only"
        ) from None
    except Exception as error:  # damaged files fail in every way there is
        raise UserError(f"{path}: not a whole {path.suffix} file ({short(error)}); get it again") from None
    if not tensors:
        raise UserError(f"{path}: no tensors in it; name a file that holds a state dict")
    return WeightsFile(tensors, other, checksum(path), metadata(path))


def checksum(path: Path) -> str:
    """SHA-256 of a file in hex digits; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata(path: Path) -> dict[str, str]:
    """The texts that a whole .safetensors file keeps beside its tensors; none of another kind of file."""
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, "np") as file:
        return dict(file.metadata() or {})


def state_dict(content: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """The named arrays of a file's content, and the names of what else is there.

    The state dict may lie under one of WRAPPERS; a prefix "module." that all of its names have (of
    DistributedDataParallel) is left out. Tensors elsewhere are not looked at.

    Raises:
        ValueError: what the file says of a tensor is not true.
    """
    if not isinstance(content, Mapping):
        return {}, []
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    inner = content if wrapper is None else content[wrapper]
    other = [] if wrapper is None else [str(key) for key in content if key != wrapper]
    named = {key: x for key, x in inner.items() if isinstance(key, str) and isinstance(x, np.ndarray | Tensor)}
    other += [str(key) for key in inner if key not in named]
    tensors = {key: x.array() if isinstance(x, Tensor) else x for key, x in named.items()}
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): x for name, x in tensors.items()}
    return tensors, other


def short(error: Exception) -> str:
    """The first words of an error."""
    return one_line(error, 100).rstrip(".") or type(error).__name__
