"""The one compiled function behind evaluation and prediction: a batch of pictures in, poses out."""

from collections.abc import Callable

import jax
from flax import nnx

from querypose_jax.models.base import Wanted
from querypose_jax.structures import Batch, Poses


def make_predict(graphdef: nnx.GraphDef, flip: bool = False) -> Callable[..., Poses]:
    """From the structure of a pose model (see `nnx.split`) to a jitted `predict(state, batch, wanted=None) -> Poses`.

    It compiles once per shape of the batch and kind of `wanted`. The poses have a leading B and are in original pixels;
    arrays keep the sharding of the batch, so that with several devices each one decodes its own pictures.

    Args:
        graphdef: of a `PoseModel`.
        flip: merges with the mirrored pictures.
    """

    @jax.jit
    def predict(state: nnx.State, batch: Batch, wanted: Wanted | None = None) -> Poses:
        return nnx.merge(graphdef, state).predict(batch, wanted, flip)

    return predict
