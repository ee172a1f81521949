"""The verb export: a checkpoint as programs that run without this project."""

import re
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.errors import UserError
from querypose_jax.inference.export import export_model
from querypose_jax.inference.predictor import Predictor
from querypose_jax.models.registry import family_of


def export(
    config: ConfigDict,
    workdir: Path,
    step: int | None,
    raw: bool,
    output: str,
    canvases: Sequence[str],
    batch_sizes: Sequence[str],
    platforms: Sequence[str],
    format: str,
) -> str:
    """Writes programs, weights and their loader; returns where they are in a line.

    Args:
        config: of the run.
        workdir, step: which checkpoint.
        raw: of a run that averages its parameters, those without averaging.
        output: a folder.
        canvases: HEIGHTxWIDTH each; none: those of the run.
        batch_sizes: numbers.
        platforms, format: as `export_model`; what is exported to ONNX computes in float32.

    Raises:
        UserError: a canvas or batch size that is none, or no such checkpoint.
    """
    for text in canvases:
        if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", text):
            raise UserError(f"command line: --canvases={text}: a canvas is HEIGHTxWIDTH, such as 800x1088")
    for text in batch_sizes:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise UserError(f"command line: --batch_sizes={text}: a batch size is a whole number")
    sizes = [tuple(map(int, text.split("x"))) for text in canvases]
    counts = [int(text) for text in batch_sizes]
    config.update_from_flattened_dict(family_of(config).exported)
    dtype = "float32" if format == "onnx" else None
    predictor = Predictor.from_checkpoint(workdir, step, config, dtype, raw)
    folder = export_model(predictor, output, sizes or None, counts, platforms, format=format)
    return f"programs, weights and the loader exported.py are in {folder}"
