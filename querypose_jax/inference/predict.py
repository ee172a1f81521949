"""The one compiled function behind evaluation and prediction: a batch of pictures in, poses out."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from querypose_jax.structures import Batch, Poses


def make_predict(graphdef: nnx.GraphDef, pruning: Any = None) -> Callable[..., Poses]:
    """Turns the structure of a pose model (see `nnx.split`) into a jitted `predict(state, batch, threshold) -> Poses`.

    It compiles once per shape of the batch. The poses have a leading B and are in original pixels; arrays keep the
    sharding of the batch, so that with several devices each one decodes its own pictures.

    Args:
        graphdef: of a model with `predict(batch, pruning, threshold)`.
        pruning: what the model may leave out, in its own terms; None: nothing.
    """

    @jax.jit
    def predict(state: nnx.State, batch: Batch, threshold: float = 0.0) -> Poses:
        return nnx.merge(graphdef, state).predict(batch, pruning, threshold)

    return predict
