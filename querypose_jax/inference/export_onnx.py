"""Programs in ONNX (needs the package onnx): the same poses from the same pixels, for every runtime that reads it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kernels.choice import portable_programs
from querypose_jax.inference import exported
from querypose_jax.inference.picture_program import FIELDS, picture_batch
from querypose_jax.inference.predictor import Predictor
from querypose_jax.onnx.convert import convert
from querypose_jax.onnx.graph import Graph, Value, Weights

MEANING = """Poses of people on pictures that lie at the top left of a canvas, or where the recipe puts them.
image: RGB. valid_size: height, width of the resized picture. orig_size: height, width of the original one. inv_affine:
from pixels of the canvas (x, y, 1) to those of the original. Results: in original pixels, continuous: 0.5 is the centre
of the first pixel. Rows where valid is false are nobody."""


class OnnxWriter:
    """Makes programs of one model, whose weights go into one file beside them."""

    def __init__(self, predictor: Predictor, folder: Path, about: Mapping[str, Any]):
        """
        Args:
            predictor: the model.
            folder: where the programs will be.
            about: what each of them carries (metadata_props), every value as JSON.
        """
        self._model: Any = predictor.model
        self._joints = len(predictor.skeleton.names)
        folder.mkdir(parents=True, exist_ok=True)
        self._weights = Weights(folder / exported.ONNX_WEIGHTS)
        self._metadata = {key: json.dumps(value) for key, value in about.items()}

    def __call__(self, count: int, canvas: tuple[int, int]) -> bytes:
        """The program for so many pictures on canvases (height, width)."""
        inputs = {
            name: Value(shape, np.dtype(dtype), name=name, narrow=shape)
            for name, (shape, dtype) in input_types(count, canvas).items()
        }
        with portable_programs():
            traced = jax.make_jaxpr(self._poses)(*[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs.values()])
        graph = Graph(self._weights, exported.ONNX_WEIGHTS)
        results = convert(graph, traced, list(inputs.values()))
        named = dict(zip(FIELDS, results, strict=True))
        return graph.model(inputs, named, self._metadata, MEANING).SerializeToString()

    def _poses(self, *picture: jax.Array) -> tuple[jax.Array, ...]:
        poses = self._model.predict(picture_batch(*picture, num_keypoints=self._joints))
        return tuple(getattr(poses, name) for name in FIELDS)


def input_types(count: int, canvas: tuple[int, int]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> shape, dtype of what a program is given."""
    return {
        "image": ((count, *canvas, 3), "uint8"),
        "valid_size": ((count, 2), "int32"),
        "orig_size": ((count, 2), "int32"),
        "inv_affine": ((count, 2, 3), "float32"),
    }
