"""The one compiled function behind evaluation and prediction: a batch of pictures in, poses out."""

from collections.abc import Callable

import jax
from flax import nnx

from querypose_jax.structures import Batch, Poses


def make_predict(graphdef: nnx.GraphDef) -> Callable[[nnx.State, Batch], Poses]:
    """Turns the structure of a pose model (see `nnx.split`) into a jitted `predict(state, batch) -> Poses`.

    It compiles once per shape of the batch. The poses have a leading B and are in original pixels; arrays keep the
    sharding of the batch, so that with several devices each one decodes its own pictures.
    """

    @jax.jit
    def predict(state: nnx.State, batch: Batch) -> Poses:
        model = nnx.merge(graphdef, state)
        return model.decode(model(batch, train=False), batch)

    return predict
