"""What every pose model promises; the rest of the house knows a model by these methods."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from querypose_jax.models.flip import merge_views, mirror_batch
from querypose_jax.skeletons import Skeleton
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
    """Pictures in, poses out. A model has a skeleton, defines the first three methods and may have a faster fourth."""

    skeleton: Skeleton

    def __call__(self, batch: Batch, train: bool = False, key: Key[Array, ""] | None = None) -> Any:
        """The model's own outputs. Training may read the people of the batch and draw with `key`."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Weighted total, and the terms by name."""
        raise NotImplementedError

    def decode(self, outputs: Any, batch: Batch) -> Poses:
        """Poses in original pixels, a fixed number per picture."""
        raise NotImplementedError

    def predict(self, batch: Batch, wanted: Wanted | None = None, flip: bool = False) -> Poses:
        """The poses of a batch.

        Args:
            batch: pictures.
            wanted: what must be there; None: everything.
            flip: predicts the mirrored pictures too and merges both: here pose by pose, which gives twice as many and
                leaves none out. A family that can merge earlier (maps of joints, say) does.
        """
        return self.predict_both_views(batch) if flip else self.decode(self(batch), batch)

    def predict_both_views(self, batch: Batch) -> Poses:
        """The poses of pictures and of their mirror images, merged (see flip.py)."""
        views = jax.tree.map(lambda *pair: jnp.stack(pair), batch, mirror_batch(batch))
        found = jax.lax.map(lambda view: self.decode(self(view), view), views)  # compiled once for both
        first, second = (jax.tree.map(lambda x, v=view: x[v], found) for view in (0, 1))
        return merge_views(first, second, batch.orig_size, self.skeleton)

    @property
    def leaves_out(self) -> bool:
        """False where `predict` gives every pose, whatever is wanted."""
        return False
