"""A trained model as programs that run without this project, on any platform: StableHLO for jax, or ONNX.

Per canvas and batch size one program: pixels in, poses in original pixels out. The weights lie beside the programs,
once, and not in them: gigabytes would otherwise stand in every one. No CUDA kernel is called: XLA compiles all of it on
every platform, because the calls of kernels are not stable across versions of jax.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export
from tqdm import tqdm

from kernels.choice import portable_programs
from querypose_jax.errors import UserError
from querypose_jax.files import whole_file, write_json
from querypose_jax.inference import exported
from querypose_jax.inference.picture_program import FIELDS, picture_batch
from querypose_jax.inference.predictor import Predictor

PLATFORMS = ("cpu", "cuda", "tpu")
FORMATS = ("stablehlo", "onnx")
Write = Callable[[int, tuple[int, int]], bytes]
"""(pictures, canvas) -> a serialised program."""


def export_model(
    predictor: Predictor,
    output: str | Path,
    canvases: Sequence[tuple[int, int]] | None = None,
    batch_sizes: Sequence[int] = (1,),
    platforms: Sequence[str] = PLATFORMS,
    progress: bool = True,
    format: str = "stablehlo",
) -> Path:
    """Writes programs, weights, about.json (last) and the loader `exported.py` into a folder.

    Args:
        predictor: the model with its weights and configuration.
        output: folder, made if needed; an earlier export in it is replaced.
        canvases: (height, width), multiples of the recipe's step; None: those on which pictures are predicted.
        batch_sizes: how many pictures a program takes at once.
        platforms: of StableHLO, jax's names: cpu, cuda, rocm, tpu.
        progress: shows a bar.
        format: "stablehlo", or "onnx", which computes in float32 and needs the package onnx.

    Returns:
        The folder.

    Raises:
        UserError: a canvas, batch size, platform or format that cannot be; for ONNX, another type of the computation,
            an operation that has no converter, or a missing package.
    """
    data = predictor.config.data
    chosen = [tuple(canvas) for canvas in (predictor.recipe.canvases(data) if canvases is None else canvases)]
    _check(chosen, batch_sizes, platforms, predictor.recipe.canvas_step, format)
    folder = Path(output)
    about = dict(
        format=exported.FORMAT,
        kind=format,
        jax_version=jax.__version__,
        model=predictor.config.model.name,
        dtype=predictor.config.model.dtype,
        keypoints=predictor.skeleton.names,
        edges=predictor.skeleton.edges,
        recipe=data.recipe,
        short_side=data.eval_short_side,
        longest_side=data.longest_side,
        resize=data.eval_resize,
        length=data.eval_length,
        multiple=data.eval_multiple,
        canvases=chosen,
        batch_sizes=sorted(batch_sizes),
        platforms=list(platforms) if format == "stablehlo" else [],
        threshold=predictor.threshold._asdict(),
        origin=predictor.origin,
    )
    write = (
        onnx_writer(predictor, folder, about) if format == "onnx" else stablehlo_writer(predictor, folder, platforms)
    )
    programs = {}
    sizes = [(count, canvas) for canvas in chosen for count in batch_sizes]
    for count, (height, width) in tqdm(sizes, desc="export", unit="program", disable=not progress):
        key = f"{count}x{height}x{width}"
        programs[key] = f"program_{key}.{format}"
        with whole_file(folder / programs[key]) as temporary:
            temporary.write_bytes(write(count, (height, width)))
    shutil.copyfile(exported.__file__, folder / Path(exported.__file__).name)
    write_json(folder / exported.ABOUT, about | {"programs": programs}, indent=2)
    return folder


def onnx_writer(predictor: Predictor, folder: Path, about: dict[str, Any]) -> Write:
    """What makes ONNX programs, which carry what is `about` them; says in a line what cannot be."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise UserError("export: ONNX needs the package onnx; pip install '.[onnx]' in the clone") from None
    if (dtype := predictor.config.model.dtype) != "float32":
        raise UserError(
            f"export: ONNX programs compute in float32, this model in {dtype}; load it with dtype='float32'"
        )
    from querypose_jax.inference.export_onnx import OnnxWriter

    forget(folder)
    return OnnxWriter(predictor, folder, about)


def stablehlo_writer(predictor: Predictor, folder: Path, platforms: Sequence[str]) -> Write:
    """Writes the weights; returns what makes StableHLO programs."""
    forget(folder)
    weights = named_weights(predictor.model)
    with whole_file(folder / exported.WEIGHTS) as temporary, temporary.open("wb") as file:
        np.savez(file, **jax.device_get(weights))
    return partial(export_program, predictor, weights, platforms=platforms)


def forget(folder: Path) -> None:
    """Removes an earlier export, of either format, from a folder; first what says that it is a whole one."""
    names = [exported.ABOUT, exported.WEIGHTS, exported.ONNX_WEIGHTS]
    programs = [path for format in FORMATS for path in folder.glob(f"program_*.{format}")]
    for path in (*(folder / name for name in names), *programs):
        path.unlink(missing_ok=True)


def export_program(
    predictor: Predictor, weights: dict[str, Any], count: int, canvas: tuple[int, int], platforms: Sequence[str]
) -> bytes:
    """One serialised program: (weights, image, valid_size, orig_size, inv_affine) -> dict of poses, which
    `exported.Exported` calls."""
    graphdef, state = nnx.split(predictor.model)
    joints = len(predictor.skeleton.names)

    def program(weights: Any, *picture: jax.Array) -> dict[str, jax.Array]:
        flat = nnx.to_flat_state(state)
        variables = [(path, variable.replace(weights[_name(path)])) for (path, variable) in flat]
        module: Any = nnx.merge(graphdef, nnx.from_flat_state(variables))
        poses = module.predict(picture_batch(*picture, num_keypoints=joints))
        return {name: getattr(poses, name) for name in FIELDS}

    shapes = (
        {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in weights.items()},
        jax.ShapeDtypeStruct((count, *canvas, 3), jnp.uint8),
        *[jax.ShapeDtypeStruct((count, 2), jnp.int32)] * 2,
        jax.ShapeDtypeStruct((count, 2, 3), jnp.float32),
    )
    with portable_programs():
        return bytes(export.export(jax.jit(program), platforms=tuple(platforms))(*shapes).serialize())


def named_weights(model: nnx.Module) -> dict[str, jax.Array]:
    """Every array of a model under its dotted path."""
    return {_name(path): variable[...] for path, variable in nnx.to_flat_state(nnx.state(model))}


def _name(path: tuple) -> str:
    return ".".join(map(str, path))


def _check(
    canvases: Sequence[tuple[int, ...]], batch_sizes: Sequence[int], platforms: Sequence[str], step: int, format: str
) -> None:
    for canvas in canvases:
        if len(canvas) != 2 or any(side <= 0 or side % step for side in canvas):
            raise UserError(f"export: canvas {canvas} must be height, width in multiples of {step} pixels")
    if not canvases or not batch_sizes or any(size < 1 for size in batch_sizes):
        raise UserError("export: needs at least one canvas, and batch sizes from 1 on")
    known = (*PLATFORMS, "rocm")
    if unknown := [platform for platform in platforms if platform not in known]:
        raise UserError(f"export: platform {unknown[0]!r} is unknown; known: {', '.join(known)}")
    if format not in FORMATS:
        raise UserError(f"export: format {format!r} is unknown; known: {', '.join(FORMATS)}")
