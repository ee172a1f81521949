"""A checkpoint of ours -> a .safetensors file under the released names, complete enough to load strictly."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.training.checkpoint import load_model
from querypose_jax.weights.bias_tables import SUFFIX, window_of
from querypose_jax.weights.official import to_official


def export_weights(checkpoint: Path, output: Path, step: int | None = None) -> list[str]:
    """Writes the model of a run, or of imported weights, for the PyTorch code.

    Args:
        checkpoint: folder with config.json and checkpoints/.
        output: FILE.safetensors, written anew where it exists.
        step: which checkpoint; None = the newest.

    Returns:
        what was written, in words.

    Raises:
        UserError: nothing there, a part of a model only, or a model without official counterpart.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: an export ends with .safetensors; rename it")
    config, _, state = load_model(checkpoint, step)
    learnt = to_official(state, config)
    rest = unapplied(learnt)
    tensors = {name: np.ascontiguousarray(x) for name, x in (learnt | rest).items()}
    with whole_file(output) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})
    return [
        f"{output}: {len(learnt)} tensors and {len(rest)} that the released code stores and never reads "
        "(zeros and constants)"
    ]


def unapplied(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a released state dict holds besides what is applied, so that PyTorch's strict loading finds every name.

    Counters, constants, and modules of the released code that it builds and does not call; of the latter zeros.
    """
    extra: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        prefix, _, last = name.rpartition(".")
        if last == "running_mean" and not prefix.endswith(".norm"):  # `norm`: a ResNet's frozen ones do not count
            extra[f"{prefix}.num_batches_tracked"] = np.zeros((), np.int64)
        elif name.endswith(".updater.fc1.weight"):
            updater = prefix.removesuffix("fc1")
            extra[f"{updater}fc3.weight"] = np.zeros((tensor.shape[1], tensor.shape[1]), np.float32)
            extra[f"{updater}norm_fc3.weight"] = np.zeros(tensor.shape[1], np.float32)
            extra[f"{updater}norm_fc3.bias"] = np.zeros(tensor.shape[1], np.float32)
        elif name.startswith("backbone.fpn_conv.3."):  # a fifth level that nobody reads
            extra[f"backbone.fpn_conv.4.{last}"] = np.zeros_like(tensor)
        elif name == "backbone.lateral_conv.1.weight":  # branch 0 has half the channels and no use for its own
            shape = (tensor.shape[0], tensor.shape[1] // 2, *tensor.shape[2:])
            extra["backbone.lateral_conv.0.weight"] = np.zeros(shape, np.float32)
        elif last == SUFFIX:
            extra[f"{prefix}.relative_position_index"] = relative_position_index(window_of(len(tensor)))
    couplings = len({name.split(".")[4] for name in state if name.startswith("criterion.flow.flow.s.")})
    if couplings:
        extra["criterion.flow.flow.mask"] = np.resize(np.float32([[0, 1], [1, 0]]), (couplings, 2))
    return extra


def relative_position_index(window: int) -> np.ndarray:
    """[window^2, window^2] row of the bias table for every pair of query and key, tokens row by row."""
    y, x = np.divmod(np.arange(window * window), window)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1
