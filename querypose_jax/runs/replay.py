"""The verb replay: one step of a run again, and what in it is not finite."""

from pathlib import Path

from ml_collections import ConfigDict

from input_pipeline.loader import open_split, train_batches
from querypose_jax.checkpoints.names import Names
from querypose_jax.devices.sharding import make_mesh
from querypose_jax.runs.start import weights_of
from querypose_jax.training.replay import replay as replay_step


def replay(config: ConfigDict, workdir: Path, step: int | None = None) -> str:
    """A report on a step, the one that ended the run by default.

    Raises:
        UserError: no such step can be run again.
    """
    shards = make_mesh(config.mesh).size
    split = open_split(config, config.data.train_split)

    def batches(start_step: int):
        return train_batches(config, split, start_step=start_step, shards=shards)

    names = Names(split.classes, split.skeleton.names)
    return replay_step(config, batches, workdir, step, split.fingerprint, names, weights_of(config))
