"""Memory against time: a block whose inner values are computed again in the backward pass."""

from typing import Any

from flax import nnx


def run_block(remat: bool, block: nnx.Module, x: Any, *rest: Any) -> Any:
    """block(x, *rest), the same numbers either way; with `remat` only x is kept for the backward pass."""
    if not remat:
        return block(x, *rest)
    return nnx.remat(lambda block, x: block(x, *rest))(block, x)
