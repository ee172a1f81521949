"""From a picture to its people in one call.

predictor = Predictor.from_checkpoint("runs/synthetic_tiny")
predictor("photo.jpg").draw().save("photo_poses.jpg")
"""

import hashlib
import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

import querypose_jax
from querypose_jax.checkpoints.origin import read_origin
from querypose_jax.checkpoints.threshold import DEFAULT, Threshold, threshold_of
from querypose_jax.devices.usable import check_usable, note_use
from querypose_jax.errors import UserError
from querypose_jax.inference.batching import inference_batch
from querypose_jax.inference.frames import predict_frames
from querypose_jax.inference.predict import make_predict
from querypose_jax.inference.prediction import Prediction, prediction_from_poses
from querypose_jax.inference.smoothing import Smoother
from querypose_jax.inference.sources import PictureSource, as_sources, is_many, open_pictures
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.video import is_video, open_video
from querypose_jax.models.base import Wanted
from querypose_jax.models.registry import abstract_model
from querypose_jax.pictures import PictureError
from querypose_jax.recipes import get_recipe
from querypose_jax.recipes.canvas import choose_canvas
from querypose_jax.skeletons import Skeleton, get_skeleton

DTYPES = ("float32", "bfloat16")
WINDOW_BATCHES = 4  # pictures are grouped by canvas inside windows of this many batches


class Predictor:
    """Finds people on pictures of any size. The first picture of each canvas size waits for the compiler."""

    def __init__(
        self,
        config: Any,
        graphdef: nnx.GraphDef,
        state: nnx.State,
        skeleton: Skeleton,
        threshold: Threshold = DEFAULT,
        origin: Mapping[str, Any] | None = None,
    ):
        """
        Args:
            config: its groups data (recipe and what that reads, canvases) and eval (batch_size, canvas) are read.
            graphdef: structure of a pose model, from `nnx.split`.
            state: its variables, from the same.
            skeleton: the keypoints of the model.
            threshold: that of calls without one.
            origin: whose weights these are, see checkpoints/origin.py; None: trained here from scratch.
        """
        self.config, self.skeleton, self.threshold, self.origin = config, skeleton, threshold, origin
        self.recipe = get_recipe(config.data.recipe)
        self._graphdef, self._state, self._is_on_device = graphdef, state, True
        self._predict = make_predict(graphdef)
        note_use()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: arrays as numpy's, which need no device until the first picture."""
        fields = {"config": self.config, "graphdef": self._graphdef, "skeleton": self.skeleton}
        fields |= {"threshold": self.threshold, "origin": self.origin}
        return fields | {"state": jax.device_get(self._state)}

    def __setstate__(self, fields: dict[str, Any]) -> None:
        Predictor.__init__(self, **fields)
        self._is_on_device = False

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | os.PathLike,
        step: int | None = None,
        config: ConfigDict | None = None,
        dtype: str | None = None,
        raw: bool = False,
    ) -> "Predictor":
        """Loads the model of a training run (or of imported weights).

        Args:
            folder: holds config.json and checkpoints/.
            step: which checkpoint; None stands for the newest.
            config: in place of the one in config.json, say with another eval.canvas.
            dtype: "bfloat16" computes with half the bytes, "float32" in full; None as the run was trained.
            raw: of a run that averages its parameters, those without averaging.

        Raises:
            UserError: there is no checkpoint in `folder`, none of this step, or one of another model; or jax cannot be
                used, see `check_usable`.
        """
        # Imports orbax: slow, and only needed here.
        from querypose_jax.checkpoints.checkpoint import load_model, newest_step

        check_usable()
        if not isinstance(folder, str | os.PathLike):
            raise UserError(f"folder {' '.join(repr(folder).split())}: name the folder of a run")
        if os.path.isfile(folder):
            raise UserError(f"{folder}: is a file; name the folder of a run, which holds config.json and checkpoints/")
        if dtype not in (None, *DTYPES):
            raise UserError(f"dtype {dtype!r} is unknown; known: {', '.join(DTYPES)}")
        config, graphdef, state = load_model(Path(folder), step, config, raw=raw)
        if dtype is not None:  # parameters are float32 whatever the computation is
            config = config.copy_and_resolve_references()
            config.model.dtype = dtype
            graphdef, _ = abstract_model(config)
        threshold = threshold_of(Path(folder), config, newest_step(Path(folder)) if step is None else step, raw)
        skeleton = get_skeleton(config.data.skeleton)
        return cls(config, graphdef, state, skeleton, threshold, read_origin(Path(folder)))

    @classmethod
    def from_weights(
        cls, file: str | os.PathLike, config: ConfigDict | None = None, dtype: str | None = None, sha256: str = ""
    ) -> "Predictor":
        """Loads a published model, or any file of weights of a known one. What is in it is told from the file, which is
        imported once into the user's cache.

        Args:
            file: path, address, or name of a published file with a link of its own (docs/models.md).
            config: of the model, where names and shapes do not tell it.
            dtype: as in `from_checkpoint`.
            sha256: of a file that is downloaded, where it is not known; "any" takes what comes.

        Raises:
            UserError: the file cannot be had or read, or is not recognised, with what to do.
        """
        from querypose_jax.weights.cache import imported
        from querypose_jax.weights.download import local_file

        folder, _ = imported(local_file(os.fspath(file), sha256), config)
        return cls.from_checkpoint(folder, config=config, dtype=dtype)

    def __call__(
        self, source: PictureSource | Sequence[PictureSource] | int, threshold: float | None = None
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """One picture -> its Prediction; a list, tuple, folder or glob -> the list of Predictions, in order; a video
        or camera -> the Predictions of its frames as they come, see `video`.

        Args:
            source: path, bytes of a file, RGB pixels (uint8 [H, W, 3]), Pillow picture, a list of those, or
                the name of a folder, a glob or a text file with a path per line; the path of a video or the number
                of a camera. For more pictures than fit into memory use `stream`.
            threshold: people with a smaller score are left out, from 0 (keeps all N queries) to 1; None: the one in
                `self.threshold`, which also says where it comes from.

        Raises:
            PictureError: a picture cannot be read.
            UserError: the source names nothing, or the threshold is none.
        """
        if isinstance(source, int | str | os.PathLike) and is_video(source):
            return self.video(source, threshold)
        found = self.stream(source if is_many(source) else [source], threshold)
        return list(found) if is_many(source) else next(found)

    def stream(
        self,
        sources: Iterable[PictureSource] | PictureSource,
        threshold: float | None = None,
        on_error: Callable[[PictureError], None] | None = None,
    ) -> Iterator[Prediction]:
        """Predictions of any number of pictures, lazily and in order; memory holds a few batches.

        Args:
            sources: an iterable of single pictures, or whatever else `__call__` takes but videos.
            threshold: as in `__call__`.
            on_error: is told of each picture that cannot be read, which is then left out; None raises the error, after
                the predictions of the pictures before it.

        Raises:
            UserError: there is no picture in `sources`, or the threshold is none.
        """
        if isinstance(sources, str | os.PathLike) and is_video(sources):
            raise UserError(f"{sources}: is a video; Predictor.video gives the predictions of its frames")
        return self._stream(as_sources(sources), checked_threshold(threshold, self.threshold.score), on_error)

    def _stream(
        self, sources: Iterable[PictureSource], threshold: float, on_error: Callable[[PictureError], None] | None
    ) -> Iterator[Prediction]:
        for window in _windows(open_pictures(sources, on_error), WINDOW_BATCHES * self.config.eval.batch_size):
            yield from self._predict_window(window, threshold)

    def video(
        self,
        source: str | os.PathLike | int,
        threshold: float | None = None,
        track: bool = False,
        smooth: bool = False,
    ) -> Iterator[Prediction]:
        """Predictions of a video's frames, lazily and in order; memory does not grow with its length.

        All are in pixels of the first frame's size, also where a video changes its size, see `predict_frames`.

        Args:
            source: path of a video, the number of a camera, or the address of a stream.
            threshold: as in `__call__`.
            track: gives people numbers that last over frames (`Prediction.tracks`); needs the package trackers.
            smooth: follows people and smooths their joints over frames, which then lag a little, see `Smoother`.

        Raises:
            UserError: it cannot be read, a package is missing, or the threshold is none.
        """
        return self._video(source, checked_threshold(threshold, self.threshold.score), track, smooth)

    def _video(
        self, source: str | os.PathLike | int, threshold: float, track: bool, smooth: bool
    ) -> Iterator[Prediction]:
        smoother = Smoother() if smooth else None
        with open_video(source) as video:
            for _, prediction in predict_frames(self.stream, video, threshold, track or smooth, smoother=smoother):
                yield prediction

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that differ where the weights do, or what decides results in the configuration."""
        digest = hashlib.blake2b(querypose_jax.__version__.encode(), digest_size=8)
        groups = {name: self.config[name].to_dict() for name in ("model", "data", "eval") if name in self.config}
        digest.update(json.dumps(groups, sort_keys=True, default=str).encode())
        for leaf in jax.device_get(jax.tree.leaves(self._state)):
            digest.update(np.ascontiguousarray(leaf).view(np.uint8) if leaf.size else b"")
        return digest.hexdigest()

    @property
    def model(self) -> nnx.Module:
        """The model with its weights."""
        return nnx.merge(self._graphdef, self._state)

    def warm_up(self, sizes: Iterable[tuple[int, int]] | tuple[int, int] | None = None) -> None:
        """Compiles for pictures of these sizes (height, width; pixels), or of this one, before the first one comes.

        None stands for every canvas of the configuration, which takes minutes for a large model with many canvases.
        Single pictures and full batches are two programs; both are compiled.

        Raises:
            UserError: a size that is none.
        """
        every = self.recipe.canvases(self.config.data)
        canvases = every if sizes is None else {self.canvas(*size) for size in _pixel_sizes(sizes)}
        self._get_ready()
        for canvas, count in product(canvases, sorted({1, self.config.eval.batch_size})):
            self._predict_batch([Image.new("RGB", (1, 1))] * count, canvas, self.threshold.score)

    def _predict_window(self, window: list[tuple[str, Image.Image]], threshold: float) -> list[Prediction]:
        """Batches by canvas, so that the canvas of a picture (and its poses) do not depend on its company."""
        self._get_ready()
        groups: dict[tuple[int, int], list[int]] = {}
        for i, (_, picture) in enumerate(window):
            groups.setdefault(self.canvas(picture.height, picture.width), []).append(i)
        found: dict[int, Prediction] = {}
        for canvas, indices in groups.items():
            size = self.config.eval.batch_size
            for start in range(0, len(indices), size):
                chunk = indices[start : start + size]
                poses = self._predict_batch([window[i][1] for i in chunk], canvas, threshold)
                for b, i in enumerate(chunk):
                    name, picture = window[i]
                    one = jax.tree.map(lambda field, b=b: field[b], poses)
                    found[i] = prediction_from_poses(one, picture, self.skeleton, threshold, name)
        return [found[i] for i in range(len(window))]

    def _get_ready(self) -> None:
        """Before anything is computed; raises UserError where jax cannot be used."""
        check_usable()
        if not self._is_on_device:
            self._state, self._is_on_device = jax.device_put(self._state), True

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """The canvas (height, width) on which a picture of this size is predicted."""
        data, exact = self.config.data, self.config.eval.canvas == "exact"
        size = self.recipe.rest_geometry(np.array([(height, width)]), data).final[0].tolist()
        return choose_canvas(*size, self.recipe.canvases(data), self.recipe.canvas_step, exact)

    def _predict_batch(self, pictures: list[Image.Image], canvas: tuple[int, int], threshold: float) -> Any:
        """Numpy Poses. Batches hold one picture or are filled up: two shapes per canvas, compiling costs most."""
        size = 1 if len(pictures) == 1 else self.config.eval.batch_size
        batch = inference_batch(pictures, canvas, self.recipe, self.config.data, self.skeleton.num_keypoints, size)
        return jax.device_get(self._predict(self._state, batch, Wanted(threshold=float(threshold))))


def _pixel_sizes(given: Any) -> list[Any]:
    """(height, width) pairs from several or one."""
    try:
        sizes = [
            tuple(map(operator.index, size)) for size in ([given] if np.ndim(given) == 1 and len(given) else given)
        ]
        if all(len(size) == 2 and min(size) > 0 for size in sizes):
            return sizes
    except (TypeError, ValueError):
        pass
    raise UserError(f"sizes {' '.join(repr(given).split())}: must be (height, width) in pixels, or several of them")


def _windows(pictures: Iterator[tuple[str, Image.Image]], size: int) -> Iterator[list[tuple[str, Image.Image]]]:
    """Lists of `size` pictures; where reading fails, those read before come first and the error after them."""
    window: list[tuple[str, Image.Image]] = []
    try:
        for picture in pictures:
            window.append(picture)
            if len(window) == size:
                full, window = window, []
                yield full
    except Exception:
        if window:
            yield window
        raise
    if window:
        yield window
