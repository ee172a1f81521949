"""From a picture to its people in one call.

predictor = Predictor.from_checkpoint("runs/synthetic_tiny")
predictor("photo.jpg").draw().save("photo_poses.jpg")
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from querypose_jax.inference.batching import inference_batch
from querypose_jax.inference.predict import make_predict
from querypose_jax.inference.prediction import Prediction, prediction_from_poses
from querypose_jax.inference.sources import PictureSource, is_many, list_pictures, open_pictures
from querypose_jax.pictures import PictureError, choose_canvas, resized_shape
from querypose_jax.skeletons import Skeleton, get_skeleton

DEFAULT_THRESHOLD = 0.3  # score (class probability x mean joint score) from which a person is reported
WINDOW_BATCHES = 4  # pictures are grouped by canvas inside windows of this many batches


class Predictor:
    """Finds people on pictures of any size. The first picture of each canvas size waits for the compiler."""

    def __init__(self, config: Any, graphdef: nnx.GraphDef, state: nnx.State, skeleton: Skeleton):
        """
        Args:
            config: reads data.eval_short_side, data.longest_side, data.canvases, eval.batch_size and eval.canvas.
            graphdef, state: a pose model, split by `nnx.split`.
            skeleton: the keypoints of the model.
        """
        self.config, self.skeleton = config, skeleton
        self._state = state
        self._predict = make_predict(graphdef)

    @classmethod
    def from_checkpoint(
        cls, folder: str | os.PathLike, step: int | None = None, config: ConfigDict | None = None
    ) -> "Predictor":
        """Loads the model of a training run (or of imported weights).

        Args:
            folder: holds config.json and checkpoints/.
            step: which checkpoint; None stands for the newest.
            config: in place of the one in config.json, say with another eval.canvas.

        Raises:
            UserError: there is no checkpoint in `folder`, none of this step, or one of another model.
        """
        from querypose_jax.training.checkpoint import load_model  # imports orbax: slow, and only needed here

        config, graphdef, state = load_model(Path(folder), step, config)
        return cls(config, graphdef, state, get_skeleton(config.data.skeleton))

    def __call__(
        self, source: PictureSource | Sequence[PictureSource], threshold: float = DEFAULT_THRESHOLD
    ) -> Prediction | list[Prediction]:
        """One picture -> its Prediction; a list, tuple, folder or glob -> the list of Predictions, in order.

        Args:
            source: path, bytes of a file, RGB pixels (uint8 [H, W, 3]), Pillow picture, a list of those, or
                the name of a folder or a glob. For more pictures than fit into memory use `stream`.
            threshold: people with a smaller score are left out; 0 keeps all N queries.

        Raises:
            PictureError: a picture cannot be read.
            UserError: the source is nothing of the above, or names nothing.
        """
        if not is_many(source):
            return next(self.stream([source], threshold))
        sources = source if isinstance(source, list | tuple) else list_pictures(source)
        return list(self.stream(sources, threshold))

    def stream(
        self,
        sources: Iterable[PictureSource],
        threshold: float = DEFAULT_THRESHOLD,
        on_error: Callable[[PictureError], None] | None = None,
    ) -> Iterator[Prediction]:
        """Predictions of any number of pictures, lazily and in order; memory holds a few batches.

        Args:
            sources: an iterable of single pictures.
            threshold: as in `__call__`.
            on_error: is told of each picture that cannot be read, which is then left out; None raises the error.
        """
        pictures = open_pictures(sources, on_error)
        while window := list(islice(pictures, WINDOW_BATCHES * self.config.eval.batch_size)):
            yield from self._predict_window(window, threshold)

    def _predict_window(self, window: list[tuple[str, Image.Image]], threshold: float) -> list[Prediction]:
        """Batches by canvas, so that the canvas of a picture (and its poses) do not depend on its company."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, (_, picture) in enumerate(window):
            groups.setdefault(self._canvas(picture), []).append(i)
        found: dict[int, Prediction] = {}
        for canvas, indices in groups.items():
            size = self.config.eval.batch_size
            for start in range(0, len(indices), size):
                chunk = indices[start : start + size]
                poses = self._predict_batch([window[i][1] for i in chunk], canvas)
                for b, i in enumerate(chunk):
                    name, picture = window[i]
                    one = jax.tree.map(lambda field, b=b: field[b], poses)
                    found[i] = prediction_from_poses(one, picture, self.skeleton, threshold, name)
        return [found[i] for i in range(len(window))]

    def _canvas(self, picture: Image.Image) -> tuple[int, int]:
        data = self.config.data
        height, width = resized_shape(picture.height, picture.width, data.eval_short_side, data.longest_side)
        return choose_canvas(height, width, data.canvases, exact=self.config.eval.canvas == "exact")

    def _predict_batch(self, pictures: list[Image.Image], canvas: tuple[int, int]) -> Any:
        """Numpy Poses. Batches hold one picture or are filled up: two shapes per canvas, compiling costs most."""
        batch = inference_batch(
            pictures,
            canvas,
            self.config.data.eval_short_side,
            self.config.data.longest_side,
            self.skeleton.num_keypoints,
            batch_size=1 if len(pictures) == 1 else self.config.eval.batch_size,
        )
        return jax.device_get(self._predict(self._state, batch))
