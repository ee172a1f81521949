"""The verb train: trains, evaluates on the way and at the end, continues where the folder holds a checkpoint."""

from pathlib import Path

import jax
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline import skipping
from input_pipeline.batching import about_masks, training_amounts
from input_pipeline.loader import open_split, train_batches
from querypose_jax.checkpoints.checkpoint import newest_step
from querypose_jax.checkpoints.config_json import changes, check_same_run
from querypose_jax.checkpoints.names import Names, check_same_names, check_start, saved_names
from querypose_jax.checkpoints.results import evaluation_folder, plain_evaluation, read_results
from querypose_jax.devices import preemption
from querypose_jax.devices.agreement import check_agreement
from querypose_jax.devices.distributed import process_share
from querypose_jax.devices.sharding import make_mesh
from querypose_jax.planning.summary import data_summary, model_summary
from querypose_jax.runs.evaluate import make_evaluate, report
from querypose_jax.skeletons import paired_by_name
from querypose_jax.training import loop


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains until config.train.num_steps, then evaluates the final step.

    Raises:
        UserError: the folder holds another run or is in use, or the data cannot be read.
    """
    check_same_run(workdir, config)  # before data are prepared
    shards = make_mesh(config.mesh).size
    split = open_split(config, config.data.train_split)
    names = Names(split.classes, split.skeleton.names)
    check_agreement(config, split.fingerprint, newest_step(workdir))  # before a checkpoint is opened together
    started = check_names(config, workdir, names)
    if jax.process_index() == 0:
        print(model_summary(config))
        amounts = training_amounts(config.data, split.annotations)
        print(data_summary(*amounts, config, shards, skipping.as_text(split.skipped)))
        about = started, paired_by_name(config.data.skeleton), about_masks(config.data, split.annotations)
        for line in filter(None, about):
            print(line)
    evaluated = []

    with preemption.listen(config.train.grace_s) as stop:
        evaluate_step = make_evaluate(plain_evaluation(config), workdir, stop, names)

        def evaluation(model: nnx.State, step: int, raw: nnx.State | None = None) -> dict[str, float]:
            evaluated.append(step)
            return evaluate_step(model, step, raw)

        def batches(start_step: int):
            return train_batches(config, split, start_step=start_step, shards=shards, **process_share())

        try:
            state = loop.train(config, batches, workdir, evaluation, split.fingerprint, stop, names)
        except preemption.Stopped:  # in an evaluation: its step is saved
            state = None
    if jax.process_index() != 0:
        return
    step = evaluated[-1] if state is None else int(state.step)
    if state is None or step < config.train.num_steps:
        print(f"SIGTERM: {workdir} is saved at step {step}; the same command continues")
    elif not evaluated:
        print(f"{workdir} is trained to step {step} already")
        if unused := changes(workdir, config):
            print(f"nothing was trained, so config.json stays as it was; not used: {unused}")
        report(evaluation_folder(plain_evaluation(config), workdir, step), step, read_results(workdir, step))


def check_names(config: ConfigDict, workdir: Path, names: Names) -> str:
    """Classes and joints against those of the run, or of the weights it starts from; a line on the latter, or "".

    Raises:
        UserError: they mean something else.
    """
    if newest_step(workdir) is not None:
        check_same_names(workdir, saved_names(workdir) or names, names)
        return ""
    return check_start(config.init_from, names) if config.init_from else ""
