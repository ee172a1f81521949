"""A file of weights -> a checkpoint that eval, predict and config.init_from take."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

import querypose_jax
from querypose_jax.checkpoints.checkpoint import save_model
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.models.family import OfficialWeights
from querypose_jax.weights.formats import WeightsFile, read_weights
from querypose_jax.weights.official import abstract, official_shapes, official_weights, to_state
from querypose_jax.weights.report import MISSING, UNEXPECTED, Report, few, match
from querypose_jax.weights.sources import architecture, from_port, is_whole, translate

REPORT = "import.json"


def import_weights(path: Path, source: str, config: ConfigDict, output: Path, allow: str | None = None) -> list[str]:
    """Writes OUTPUT with a checkpoint, its config.json and import.json; nothing at all where something is wrong.

    Args:
        path: the file.
        source: one of sources.SOURCES.
        config: the whole config of the model.
        output: a folder that does not exist yet, or is empty.
        allow: regular expression for names that may be missing, unexpected or of another shape.

    Returns:
        the lines of a report.

    Raises:
        UserError: the file cannot be read, does not fit, or holds what is no number.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already; name another folder with --output=DIR")
    try:
        re.compile(allow or "")
    except re.error as error:
        raise UserError(f"--allow-missing={allow}: not a regular expression ({error})") from None
    file = read_weights(path)
    state, report, whole = fit(path, file, source, config, allow)
    about = {
        "file": path.name,
        "sha256": file.sha256,
        "source": source,
        "whole_model": whole,
        "beside": file.other,
        "code_version": querypose_jax.__version__,
    }
    write_checkpoint(output, config, state, about | report.to_json())
    lines = [f"{path.name} (sha256 {file.sha256}), {len(file.tensors)} tensors", *report.lines()]
    if file.other:
        lines.append(f"not read, beside the weights: {few(file.other)}")
    kind = "the whole model" if whole else "a part of the model: start from it with --config.init_from"
    return [*lines, f"{output} holds {kind}; all names are in {output / REPORT}"]


def fit(
    path: Path, file: WeightsFile, source: str, config: ConfigDict, allow: str | None
) -> tuple[nnx.State, Report, bool]:
    """The variables that the file fills, the report, and whether these are all variables of the model."""
    renamed, source = from_port(file.tensors, source, config)
    file = file._replace(tensors=renamed)
    variables, names = abstract(config)
    count = len(variables)
    if not is_whole(file.tensors, source, config, official_shapes(variables, names)):
        names = official_weights(config).trunk(config)
        variables = {path: variable for path, variable in variables.items() if path in names}
    expected = official_shapes(variables, names)
    found = translate(file.tensors, source, config, expected)
    tensors, report = match(found, expected, allow)
    if report.problems:
        raise UserError(f"{path}: {reason(file, expected, report, tensors, official_weights(config))}")
    if not tensors:
        raise UserError(f"{path}: none of its {len(file.tensors)} names is part of this model; is --source right?")
    state = to_state(checked(path, tensors), variables, names)
    return state, report, len(nnx.to_flat_state(state)) == count


def reason(
    file: WeightsFile,
    expected: Mapping[str, tuple[int, ...]],
    report: Report,
    tensors: Mapping[str, np.ndarray],
    weights: OfficialWeights,
) -> str:
    """One line on why a file does not fit: another trunk, another version, or the first names."""
    theirs = architecture(file.tensors)
    ours = architecture({name: np.broadcast_to(np.int8(0), shape) for name, shape in expected.items()})
    if theirs and theirs != ours:
        return f"these are weights of {theirs}, the config asks for {ours}; take the config of {theirs}"
    missing, unexpected = (report.problems.get(kind, []) for kind in (MISSING, UNEXPECTED))
    if why := weights.misfit(expected, missing, unexpected):
        return why
    if not tensors and theirs is None:
        first = few(list(file.tensors))
        return f"no weights of {ours or 'this model'} in it, its names are {first}; is --source the right one?"
    return f"{report.problem()}; another config, or --allow-missing=PATTERN if that is as it should be"


def checked(path: Path, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors in float32.

    Raises:
        UserError: one of them has a NaN or an infinity in it, or holds no real numbers.
    """
    converted = {}
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f" and tensor.dtype.name != "bfloat16":
            raise UserError(f"{path}: {name} holds {tensor.dtype.name}, not floating-point numbers; get the file again")
        with np.errstate(over="ignore"):
            converted[name] = tensor.astype(np.float32, copy=False)
        if not np.isfinite(converted[name]).all():
            wrong = np.count_nonzero(~np.isfinite(converted[name]))
            raise UserError(
                f"{path}: {wrong} of {tensor.size} numbers of {name} are NaN or infinite; the file is of no use"
            )
    return converted


def write_checkpoint(output: Path, config: ConfigDict, state: nnx.State, report: Mapping[str, Any]) -> None:
    """The folder of an import, complete or not there at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        save_model(temporary, config, state)
        write_json(temporary / REPORT, report, indent=1)
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
