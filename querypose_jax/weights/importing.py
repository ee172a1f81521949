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
from querypose_jax.checkpoints.config_json import METADATA as METADATA_CONFIG
from querypose_jax.checkpoints.config_json import config_from_text
from querypose_jax.checkpoints.names import Names
from querypose_jax.checkpoints.origin import UNKNOWN, in_words, read_metadata, write_origin
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.models.family import OfficialWeights
from querypose_jax.skeletons import get_skeleton
from querypose_jax.weights.formats import WeightsFile, read_weights
from querypose_jax.weights.official import abstract, official_shapes, official_weights, to_state
from querypose_jax.weights.published import published_under
from querypose_jax.weights.recognise import Recognised, recognise, taken_for
from querypose_jax.weights.report import MISSING, UNEXPECTED, Report, few, match
from querypose_jax.weights.sources import architecture, from_port, guess_source, is_whole, translate

REPORT = "import.json"


def import_weights(
    path: Path,
    source: str | None = None,
    config: ConfigDict | None = None,
    output: Path | None = None,
    allow: str | None = None,
) -> list[str]:
    """Writes OUTPUT with a checkpoint, its config.json, import.json and origin.json; nothing at all where something is
    wrong.

    Args:
        path: the file.
        source: one of sources.SOURCES; None: told from the names in the file.
        config: the whole config of the model; None: told from names and shapes, see `recognise`.
        output: a folder that does not exist yet, or is empty; None writes nothing and only says what the file is.
        allow: regular expression for names that may be missing, unexpected or of another shape.

    Returns:
        the lines of a report.

    Raises:
        UserError: the file cannot be read, is not recognised, does not fit, or holds what is no number.
    """
    if output and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already; name another folder with --output=DIR")
    try:
        re.compile(allow or "")
    except re.error as error:
        raise UserError(f"--allow-missing={allow}: not a regular expression ({error})") from None
    file = read_weights(path)
    model = what_it_holds(path, file, source, config)
    lines = [f"{path.name} (sha256 {file.sha256}), {len(file.tensors)} tensors: {model.name}"]
    state, report, whole = fit(path, file, model.source, model.config, allow)
    lines += report.lines()
    if file.other:
        lines.append(f"not read, beside the weights: {few(file.other)}")
    origin = origin_of(path, file, model)
    lines.append(in_words(origin))
    if output is None:
        return lines
    about = {
        "file": path.name,
        "sha256": file.sha256,
        "source": model.source,
        "whole_model": whole,
        "beside": file.other,
        "code_version": querypose_jax.__version__,
    }
    names = trained_names(model.config) if whole else None
    write_checkpoint(output, model.config, state, about | report.to_json(), origin, names)
    kind = "the whole model" if whole else "a part of the model: start from it with --config.init_from"
    return [*lines, f"{output} holds {kind}; all names are in {output / REPORT}"]


def what_it_holds(path: Path, file: WeightsFile, source: str | None, config: ConfigDict | None) -> Recognised:
    """What a file is, as far as it is not said; raises UserError as `recognise` does."""
    if config is None and METADATA_CONFIG in file.metadata:
        ours = config_from_text(file.metadata[METADATA_CONFIG], path)
        return Recognised(f"an export of this library, {ours.model.name}", "official", ours, None)
    if config is None:
        model = recognise(path, file.tensors)
        return model if source is None else model._replace(source=source)
    known = taken_for(file.tensors, config)
    if known and source in (None, known.source):
        return known
    return Recognised(f"taken for {config.model.name}, as --config says", source or guessed(file, config), config, None)


def guessed(file: WeightsFile, config: ConfigDict) -> str:
    """Whose names a file has, told by how many of them find their place in the model or in its trunk."""
    variables, names = abstract(config)
    trunk = official_weights(config).trunk(config)
    of_trunk = official_shapes({path: x for path, x in variables.items() if path in trunk}, trunk)
    return guess_source(file.tensors, config, {**official_shapes(variables, names), **of_trunk})


def origin_of(path: Path, file: WeightsFile, model: Recognised) -> dict[str, Any]:
    """What is kept of where weights come from; of a file that is an export of ours, what that says of itself."""
    if ours := read_metadata(file.metadata):
        return ours | {"file": path.name, "sha256": file.sha256}
    published = model.origin or published_under(path.name)
    known = published._asdict() if published else {"publisher": UNKNOWN, "page": "", "terms": UNKNOWN}
    return {"name": model.name, "file": path.name, "sha256": file.sha256, **known}


def trained_names(config: ConfigDict) -> Names | None:
    """Names of classes and joints of a published model: people are its only class. None for more classes."""
    joints = get_skeleton(config.data.skeleton).names
    return Names(("person",), joints) if config.model.num_classes == 1 else None


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


def write_checkpoint(
    output: Path,
    config: ConfigDict,
    state: nnx.State,
    report: Mapping[str, Any],
    origin: Mapping[str, Any],
    names: Names | None,
) -> None:
    """The folder of an import, complete or not there at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        save_model(temporary, config, state, names=names and names._asdict())
        write_json(temporary / REPORT, report, indent=1)
        write_origin(temporary, origin)
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
