"""The verb train: trains, evaluates on the way and at the end, continues where the folder holds a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import jax
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline import skipping
from input_pipeline.batching import about_masks, training_amounts
from input_pipeline.loader import open_split, train_batches
from querypose_jax.checkpoints.checkpoint import newest_step
from querypose_jax.checkpoints.config_json import changes, check_same_run
from querypose_jax.checkpoints.names import Names, check_same_names, saved_names
from querypose_jax.checkpoints.results import evaluation_folder, plain_evaluation, read_results
from querypose_jax.devices import preemption
from querypose_jax.devices.agreement import check_agreement
from querypose_jax.devices.distributed import process_share
from querypose_jax.devices.sharding import make_mesh
from querypose_jax.planning.summary import data_summary, model_summary
from querypose_jax.runs.evaluate import make_evaluate, report
from querypose_jax.runs.start import check_start_names, weights_of
from querypose_jax.skeletons import paired_by_name
from querypose_jax.training import loop
from querypose_jax.training.callbacks import Callback, Callbacks
from querypose_jax.training.patience import ended_by_patience, scores_of


def train(config: ConfigDict, workdir: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Trains until config.train.num_steps or out of patience, and evaluates the final step.

    Raises:
        UserError: the folder holds another run or is in use, or the data cannot be read.
    """
    told = Callbacks(callbacks)
    check_same_run(workdir, config)  # before data are prepared
    shards = make_mesh(config.mesh).size
    split = open_split(config, config.data.train_split)
    names = Names(split.classes, split.skeleton.names)
    check_agreement(config, split.fingerprint, newest_step(workdir))  # before a checkpoint is opened together
    is_fresh = newest_step(workdir) is None
    weights = weights_of(config) if is_fresh else None
    started = check_start_names(config, weights, names)
    if not is_fresh:
        check_same_names(workdir, saved_names(workdir) or names, names)
    if jax.process_index() == 0:
        print(model_summary(config))
        amounts = training_amounts(config.data, split.annotations)
        print(data_summary(*amounts, config, shards, skipping.as_text(split.skipped)))
        about = started, paired_by_name(config.data.skeleton), about_masks(config.data, split.annotations)
        for line in filter(None, about):
            print(line)
    evaluated = []

    with preemption.listen(config.train.grace_s, told.wants_end) as stop:
        evaluate_step = make_evaluate(plain_evaluation(config), workdir, stop, names)

        def evaluation(model: nnx.State, step: int, raw: nnx.State | None = None) -> dict[str, float]:
            evaluated.append(step)
            return evaluate_step(model, step, raw)

        def batches(start_step: int):
            return train_batches(config, split, start_step=start_step, shards=shards, **process_share())

        try:
            state = loop.train(config, batches, workdir, evaluation, split.fingerprint, stop, names, weights, told)
        except preemption.Stopped:  # in an evaluation: its step is saved
            state = None
    if jax.process_index() != 0:
        return
    step = evaluated[-1] if state is None else int(state.step)
    early = "" if state is None else ended_by_patience(scores_of(workdir), config.train.patience)
    if state is None or (step < config.train.num_steps and not early):
        who = "a callback" if told.wants_end() else "SIGTERM"
        print(f"{who}: {workdir} is saved at step {step}; the same command continues")
    elif step < config.train.num_steps and evaluated:
        print(early)
    elif not evaluated:
        print(f"{workdir} is trained to step {step} already")
        if unused := changes(workdir, config):
            print(f"nothing was trained, so config.json stays as it was; not used: {unused}")
        report(evaluation_folder(plain_evaluation(config), workdir, step), step, read_results(workdir, step))
    told.on_end(step)
