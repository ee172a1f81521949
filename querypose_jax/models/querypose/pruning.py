"""Exact pruning at test time: the pose stages run for the queries that can still matter, and for no others.

Nothing flows from the pose stages back to the boxes at test time, so all boxes are known first. The final score of a
query is its box score times a mean keypoint score of at most 1: a query whose box score is below what is still wanted
cannot be among the results. Queries are taken in the order of their box scores, some at a time, until the best
remaining one is not wanted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from querypose_jax.models.base import Wanted


@dataclass(frozen=True)
class Pruning:
    """Which results must be there. Static: a program is compiled for each value."""

    chunk: int
    """Queries of a picture that the pose stages take at a time."""
    best: int = 0
    """Only this many best final scores of a picture are wanted (COCO keeps 20); 0 = any number."""
    most_chunks: int | None = None
    """Stop after this many chunks whatever is left: faster, but not exact; None = never."""


BEST_CHUNK = 30  # queries at a time where a number of best ones is wanted
THRESHOLD_CHUNK = 10  # where all from a threshold on are: a picture has few


def pruning_for(wanted: Wanted) -> Pruning:
    """How the pose stages look for what is wanted."""
    return Pruning(BEST_CHUNK if wanted.best else THRESHOLD_CHUNK, wanted.best)


def pruning_notes(has_run: Bool[Array, "B N"], pruning: Pruning) -> dict[str, Float[Array, " B"]]:
    """Queries of each picture that the pose stages ran for, and 1 where the first chunk was not enough."""
    count = has_run.sum(1).astype(jnp.float32)
    return {"pruning/queries": count, "pruning/widened": (count > pruning.chunk).astype(jnp.float32)}


class Refined(NamedTuple):
    """What the pose stages found for Q queries of each picture."""

    xy: Float[Array, "B Q K 2"]
    sigma: Float[Array, "B Q K 2"]
    scores: Float[Array, "B Q"]
    """Final scores."""


def refine_wanted(
    pruning: Pruning,
    box_scores: Float[Array, "B N"],
    is_box: Bool[Array, "B N"],
    refine: Callable[[Int[Array, "B Q"]], Refined],
    threshold: float | Float[Array, ""] = 0.0,
) -> tuple[Refined, Bool[Array, "B N"]]:
    """Runs `refine` on the wanted queries.

    Args:
        pruning: what is wanted.
        box_scores: upper bounds of the final scores.
        is_box: False for queries that are never reported.
        refine: query indices (N stands for no query) -> what the pose stages find for them.
        threshold: final score from which a result is wanted.

    Returns:
        Results by query, zero where they did not run, and which did. All pictures of a batch run equally many chunks.
    """
    pictures, queries = box_scores.shape
    chunks = -(-queries // pruning.chunk)
    ranked = jnp.where(is_box, box_scores, -jnp.inf)
    order = jnp.argsort(-ranked, axis=1, stable=True)
    padding = ((0, 0), (0, (chunks + 1) * pruning.chunk - queries))
    remaining = jnp.pad(jnp.take_along_axis(ranked, order, 1), padding, constant_values=-jnp.inf)
    order = jnp.pad(order, padding, constant_values=queries)
    limit = min(chunks, pruning.most_chunks or chunks)
    shapes = jax.eval_shape(refine, order[:, : pruning.chunk])
    empty = jax.tree.map(lambda x: jnp.zeros((pictures, queries, *x.shape[2:]), x.dtype), shapes)
    row = jnp.arange(pictures)[:, None]

    def is_wanted(state) -> Bool[Array, ""]:
        done, found, has_run = state
        return (done < limit) & jnp.any(remaining[:, done * pruning.chunk] >= bar(found.scores, has_run & is_box))

    def bar(scores, is_result) -> Float[Array, " B"]:
        """What the best remaining box score must reach. Equal counts: a tie with the last wanted score is run too."""
        lowest = jnp.full(pictures, threshold, scores.dtype)
        if not pruning.best or pruning.best > queries:
            return lowest
        results = jnp.where(is_result, scores, -jnp.inf)
        return jnp.maximum(lowest, jax.lax.top_k(results, pruning.best)[0][:, -1])

    def run_chunk(state):
        done, found, has_run = state
        chosen = jax.lax.dynamic_slice_in_dim(order, done * pruning.chunk, pruning.chunk, 1)
        found = jax.tree.map(lambda all, new: all.at[row, chosen].set(new, mode="drop"), found, refine(chosen))
        return done + 1, found, has_run.at[row, chosen].set(True, mode="drop")

    start = (jnp.zeros((), jnp.int32), empty, jnp.zeros((pictures, queries), bool))
    _, found, has_run = jax.lax.while_loop(is_wanted, run_chunk, start)
    return found, has_run
