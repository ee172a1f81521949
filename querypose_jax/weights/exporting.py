"""A checkpoint of ours -> a .safetensors file under the released names, complete enough to load strictly."""

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from querypose_jax.checkpoints.checkpoint import find_step, load_model
from querypose_jax.checkpoints.config_json import METADATA as METADATA_CONFIG
from querypose_jax.checkpoints.origin import METADATA, in_words, read_origin, trained_here
from querypose_jax.checkpoints.threshold import tuned_threshold
from querypose_jax.errors import UserError
from querypose_jax.files import whole_file
from querypose_jax.weights.official import official_weights, to_official


def export_weights(checkpoint: Path, output: Path, step: int | None = None, raw: bool = False) -> list[str]:
    """Writes the model of a run, or of imported weights, for the PyTorch code.

    Args:
        checkpoint: folder with config.json and checkpoints/.
        output: FILE.safetensors, written anew where it exists.
        step: which checkpoint; None = the newest.
        raw: of a run that averages its parameters, those without averaging.

    Returns:
        what was written, in words.

    Raises:
        UserError: nothing there, a part of a model only, or a model without official counterpart.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: an export ends with .safetensors; rename it")
    config, _, state = load_model(checkpoint, step, raw=raw)
    learnt = to_official(state, config)
    rest = official_weights(config).unapplied(learnt)
    tensors = {name: np.ascontiguousarray(x) for name, x in (learnt | rest).items()}
    origin = read_origin(checkpoint) or trained_here(config)
    if tuned := tuned_threshold(checkpoint, config, find_step(checkpoint, step), raw):
        origin["threshold"] = tuned._asdict()
    about = {"format": "pt", METADATA_CONFIG: json.dumps(config.to_dict()), METADATA: json.dumps(origin)}
    with whole_file(output) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata=about)
    return [
        f"{output}: {len(learnt)} tensors and {len(rest)} that the released code stores and never reads "
        "(zeros and constants)",
        in_words(origin),
    ]
