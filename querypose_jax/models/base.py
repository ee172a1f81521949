"""What every pose model promises; the rest of the house knows a model by these four methods."""

from dataclasses import dataclass, field
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from querypose_jax.structures import Batch, Poses


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Wanted:
    """Which poses of a picture must be there. A model may leave out the others: those are not valid then."""

    best: int = field(default=0, metadata={"static": True})
    """Only this many best scores (COCO keeps 20 detections of a picture); 0 = any number."""
    threshold: float | Float[Array, ""] = 0.0
    """Only scores from this one on."""


class PoseModel(nnx.Module):
    """Pictures in, poses out. A model defines the first three methods and may have a faster fourth."""

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Any:
        """The model's own outputs. Training may read the people of the batch and draw with `key`."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted total, and the terms by name."""
        raise NotImplementedError

    def decode(self, outputs: Any, batch: Batch) -> Poses:
        """Poses in original pixels, a fixed number per picture."""
        raise NotImplementedError

    def predict(self, batch: Batch, pruning: Any = None, threshold: float | Float[Array, ""] = 0.0) -> Poses:
        """The poses of a batch; results below `threshold`, and what `pruning` does not want, may be left out."""
        return self.decode(self(batch), batch)
