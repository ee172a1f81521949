"""Training as a function: what `launch.py` does for the verb train, with those who watch."""

import os
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from querypose_jax.checkpoints.results import read_results
from querypose_jax.configuration.check_config import check_config
from querypose_jax.configuration.check_keys import check_keys
from querypose_jax.devices.process import prepare_process
from querypose_jax.devices.usable import check_usable
from querypose_jax.errors import UserError
from querypose_jax.training.callbacks import Callback
from querypose_jax.training.patience import scores_of


def train(config: ConfigDict, workdir: str | os.PathLike, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
    """Trains, evaluates on the way and at the end, continues where the folder holds a checkpoint: the same run, to the
    bit, as `launch.py --config=... --workdir=...`.

    Args:
        config: a whole configuration, as `get_config()` of a file in configs/ gives it; not changed.
        workdir: folder of the run, see `training.loop.train`.
        callbacks: instances of classes derived from `Callback`.

    Returns:
        The metrics of the last step that was evaluated, as in eval/STEP/metrics.json; {} where none was.

    Raises:
        UserError: a configuration that cannot work, a folder that holds another run or is in use, data that cannot be
            read, a package that is missing.
        NonFiniteError: a UserError too; the numbers of several steps in a row were not finite.
    """
    prepare_process()
    check_keys(config)
    check_config(config)
    check_usable()
    try:  # brings tensorflow, which reads the data
        from querypose_jax.runs import train as run
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; pip install '.[train]' in the clone") from None
    workdir = Path(workdir)
    run.train(config.copy_and_resolve_references(), workdir, callbacks)
    steps = scores_of(workdir)
    return read_results(workdir, max(steps)) if steps else {}
