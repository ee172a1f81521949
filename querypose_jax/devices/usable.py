"""Whether this process can use jax at all, asked before it fails or waits in ways that say nothing."""

import os
from typing import Any

import jax

from querypose_jax.errors import UserError

_is_used = False  # jax, by this process
_is_forked = False  # this process, from one that had used jax


def check_usable() -> None:
    """Looks for devices; call it before the first array of a command.

    Raises:
        UserError: jax finds no device of the kind that it was told to use, or this process is the fork of one that
            uses jax: jax's threads do not come along, and the first array would be waited for for ever.
    """
    if _is_forked:
        remedy = "start workers by multiprocessing.get_context('spawn'), to whom a Predictor can be sent"
        raise UserError(f"this process was forked from one that uses jax, whose threads stay behind; {remedy}")
    note_use()
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # the kind depends on which part is missing
        config: Any = jax.config  # whose names are not typed
        told = f"JAX_PLATFORMS={config.jax_platforms or ''}"
        remedy = "unset it to take what there is, or install jax for it: pip install 'jax[cuda12]' or 'jax[tpu]'"
        raise UserError(f"{told}: jax finds no such device; {remedy}") from None


def note_use() -> None:
    """Arrays are made in this process: from now on its forks cannot use jax."""
    global _is_used
    _is_used = True


def _note_fork() -> None:
    global _is_forked
    _is_forked = _is_used


if hasattr(os, "register_at_fork"):  # where processes can be forked
    os.register_at_fork(after_in_child=_note_fork)
