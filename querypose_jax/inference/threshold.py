"""A threshold is checked wherever a user hands one in."""

import math
from typing import Any

from querypose_jax.errors import UserError


def checked_threshold(threshold: Any, default: float | None = None) -> float:
    """The threshold as a float, the default for None; raises UserError for what is no number from 0 to 1 (NaN, 30 for
    30 %, "0.5")."""
    if threshold is None and default is not None:
        return default
    try:
        value = math.nan if isinstance(threshold, str | bytes | bool) else float(threshold)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value <= 1:  # NaN is never within
        raise UserError(f"threshold {' '.join(repr(threshold).split())}: must be a number from 0 to 1")
    return value
