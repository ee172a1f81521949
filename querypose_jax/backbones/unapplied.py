"""What released state dicts hold of a backbone besides what is applied, so that PyTorch's strict loading finds it."""

from collections.abc import Mapping

import numpy as np

from querypose_jax.backbones.bias_tables import SUFFIX, window_of


def unapplied(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Counters, constants, and modules that the released code builds and does not call; of the latter zeros.

    Args:
        state: what is applied, under its official names.
    """
    extra: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        prefix, _, last = name.rpartition(".")
        if last == "running_mean" and not prefix.endswith(".norm"):  # `norm`: a ResNet's frozen ones do not count
            extra[f"{prefix}.num_batches_tracked"] = np.zeros((), np.int64)
        elif name.startswith("backbone.fpn_conv.3."):  # a fifth level that nobody reads
            extra[f"backbone.fpn_conv.4.{last}"] = np.zeros_like(tensor)
        elif name == "backbone.lateral_conv.1.weight":  # branch 0 has half the channels and no use for its own
            shape = (tensor.shape[0], tensor.shape[1] // 2, *tensor.shape[2:])
            extra["backbone.lateral_conv.0.weight"] = np.zeros(shape, np.float32)
        elif last == SUFFIX:
            extra[f"{prefix}.relative_position_index"] = relative_position_index(window_of(len(tensor)))
    return extra


def relative_position_index(window: int) -> np.ndarray:
    """[window^2, window^2] row of the bias table for every pair of query and key, tokens row by row."""
    y, x = np.divmod(np.arange(window * window), window)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + window - 1) * (2 * window - 1) + dx + window - 1
