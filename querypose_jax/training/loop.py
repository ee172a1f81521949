"""The training run, from an empty (or half-filled) folder to a trained model.

Takes any iterator of `Batch`: neither tensorflow nor the input pipeline is known here.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from tqdm import tqdm

from querypose_jax.checkpoints.checkpoint import FOLDER, fill_weights, named_leaves, newest_step
from querypose_jax.checkpoints.config_json import changes, check_same_run, model_hash, write_config
from querypose_jax.checkpoints.disk import told_where
from querypose_jax.checkpoints.names import Names
from querypose_jax.checkpoints.one_run import one_run
from querypose_jax.checkpoints.origin import write_origin
from querypose_jax.checkpoints.results import is_evaluated
from querypose_jax.checkpoints.rotation import Checkpoints
from querypose_jax.checkpoints.start import origin_of_start, start_from
from querypose_jax.checkpoints.train_state import TrainState, first_average
from querypose_jax.devices import sharding
from querypose_jax.devices.agreement import check_agreement
from querypose_jax.devices.distributed import together
from querypose_jax.devices.preemption import Stop, never
from querypose_jax.errors import UserError
from querypose_jax.layers.frozen import Frozen
from querypose_jax.structures import AnyArray, Batch
from querypose_jax.training.bad_steps import BadSteps, NonFiniteError
from querypose_jax.training.build import build
from querypose_jax.training.callbacks import NOBODY, Callbacks
from querypose_jax.training.metrics import Compiling, MetricsLog, Speed, progress_bar
from querypose_jax.training.patience import ended_by_patience
from querypose_jax.training.step import Metrics, all_finite

STEPS_AHEAD = 2  # steps the host may be ahead of the devices; bounds the memory held by batches

InFlight = deque[tuple[int, Metrics, AnyArray]]  # step, its metrics, the image ids of its batch


class Evaluate(Protocol):
    """Evaluates the model of a step. With averaged parameters the model has those, and `raw` is the one without."""

    def __call__(self, model: nnx.State, step: int, raw: nnx.State | None = None) -> dict[str, float]:
        """Metrics by name."""


def train(
    config: ConfigDict,
    batches: Callable[[int], Iterator[Batch]],
    workdir: str | Path,
    evaluate: Evaluate | None = None,
    fingerprint: str = "",
    stop: Stop = never,
    names: Names | None = None,
    weights: Path | None = None,
    callbacks: Callbacks = NOBODY,
) -> TrainState:
    """Trains until step config.train.num_steps; continues from the newest checkpoint in `workdir`.

    What is logged under a step are the exact values of that step, not averages, so that a continued run can be
    compared to an uninterrupted one to the bit. A step is saved before it is evaluated, and logged last: whatever
    ends a run meanwhile, the next start evaluates and logs the step that it finds unfinished. Steps that are not
    finite are skipped, see bad_steps.py.

    Args:
        config: all groups, see configs/common.py.
        batches: the batches from a given step (0 = first) on, numpy; this process's part of them.
        workdir: gets config.json (once a step is made), checkpoints/, run.lock, metrics.jsonl, TensorBoard files;
            bad_step.json with the error.
        evaluate: from the model's state and the step to metrics; writes workdir/eval/STEP/metrics.json. Called every
            config.eval.every steps and at the end, with config.train.ema_decay on the averaged model.
        fingerprint: tells one data set from another; a run is only continued on the same one.
        stop: asked after every step; once it says so, that step is saved and training ends. What is left of the step
            (its evaluation) is done at the next start.
        names: of classes and joints, kept with every checkpoint.
        weights: the folder that config.init_from stands for; None: that folder itself.
        callbacks: told of steps, evaluations and checkpoints. Their wish to end comes back through `stop`.

    Returns:
        The last state.

    Raises:
        UserError: the folder holds another run or is in use, the batch does not split over the devices, weights do
            not fit, processes do not agree, or a checkpoint cannot be written.
        NonFiniteError: config.train.max_bad_steps steps in a row were skipped; names the last one and its losses.
    """
    # Set up.
    workdir = Path(workdir)
    if weights is None and config.init_from:
        weights = Path(config.init_from)
    check_agreement(config, fingerprint, newest_step(workdir))
    check_same_run(workdir, config)
    main_process = jax.process_index() == 0
    mesh, _, state, train_step = build(config)

    with (
        together(),
        one_run(workdir) if main_process else nullcontext(),
        jax.set_mesh(mesh),
        Checkpoints(workdir, config.train.keep_last) as checkpoints,
        together(),  # again: what fails inside must not wait for the others to close the checkpoints
    ):
        # Restore.
        about: dict[str, Any] = {"data": fingerprint, "model": model_hash(config), "names": names and names._asdict()}
        bad = BadSteps(workdir, config.train.max_bad_steps, config.train.seed, restored(checkpoints, "bad_steps"))
        if checkpoints.latest_step is not None:
            check_same_data(checkpoints, fingerprint, workdir)
            state = checkpoints.restore(state)
        else:
            state, drawn, lines = first_state(config, state, weights, names)
            if main_process:
                for line in lines:
                    print(line)
                warn_of_frozen(state.rest, drawn)

        start, end = int(state.step), config.train.num_steps
        unfinished = evaluate is not None and wants_evaluation(config, start) and not is_evaluated(workdir, start)
        patience = config.train.patience
        if ended_by_patience(checkpoints.scores, patience):
            end = start
        if start >= end and not unfinished:
            return state
        with (
            open_log(config, workdir, start - 1 if unfinished else start) if main_process else nullcontext() as log,
            progress_bar(start, end, show=main_process) as bar,
        ):
            if unfinished:
                values = restored(checkpoints, "metrics") or {}
                finish_step(start, state, values, evaluate, checkpoints, log, callbacks)
                end = start if ended_by_patience(checkpoints.scores, patience) else end
            source = batches(start) if start < end else iter(())
            speed, in_flight = Speed(), InFlight()
            compiling = Compiling(bar)
            for step in range(start + 1, end + 1):
                # Step. The first one compiles: it is waited for, and timed apart.
                batch = next_batch(source, step)
                with compiling.told(batch):
                    state, metrics = train_step(state, sharding.put_batch(batch, mesh))
                if step == start + 1 and main_process:
                    note_config(workdir, config)
                    if start == 0 and weights and (origin := origin_of_start(weights)):
                        write_origin(workdir, origin)
                in_flight.append((step, metrics, batch.image_id))
                stops = stop()
                evaluates = evaluate is not None and wants_evaluation(config, step)
                saves = evaluates or stops or step == end or is_due(step, config.train.checkpoint_every)
                logs = evaluates or step in (1, end) or is_due(step, config.train.log_every)
                settle(in_flight, 0 if logs or saves or step == start + 1 else STEPS_AHEAD, bad, bar, callbacks)
                timing = {}
                if step == start + 1:
                    timing["first_step_seconds"] = speed.restart()
                else:
                    speed.add(config.data.batch_size)

                # Save, evaluate, log.
                values = timing | logged_values(metrics, bad, speed, bar) if logs else {}
                with speed.excluded():
                    if saves:
                        check_finite(state)
                        checkpoints.save(state, about | {"metrics": values, "bad_steps": bad.facts})
                        tell_of_checkpoint(step, checkpoints, callbacks)
                    if not (stops and evaluates):
                        finish_step(step, state, values, evaluate if evaluates else None, checkpoints, log, callbacks)
                if stops or (evaluates and ended_by_patience(checkpoints.scores, patience)):
                    break
    return state


def open_log(config: ConfigDict, workdir: Path, step: int) -> MetricsLog:
    """The log of a run that stands at `step`."""
    return MetricsLog(workdir, step, config.train.wandb_project)


def note_config(workdir: Path, config: ConfigDict) -> None:
    """Writes config.json, once a step is made with it: a start that trains nothing says nothing about the run."""
    if changed := changes(workdir, config):
        tqdm.write(f"{workdir}: goes on with {changed}")
    write_config(workdir, config)


def logged_values(metrics: Metrics, bad: BadSteps, speed: Speed, bar: tqdm) -> dict[str, float]:
    """The finite ones of a step's metrics as numbers, the steps skipped so far and the speed; shows some on the bar."""
    values = {name: float(value) for name, value in metrics.items() if name != "skipped"}
    bar_values = {"loss": f"{values['loss/total']:.3f}"}
    values = {name: value for name, value in values.items() if np.isfinite(value)}  # JSON has no others
    values["skipped_steps"] = float(bad.total)
    if speed.pictures:
        values["images_per_second"] = speed.read()
        bar.set_postfix(bar_values | {"images": f"{values['images_per_second']:.1f}/s"})
    return values


def finish_step(
    step: int,
    state: TrainState,
    values: dict[str, float],
    evaluate: Evaluate | None,
    checkpoints: Checkpoints,
    log: MetricsLog | None,
    callbacks: Callbacks,
) -> None:
    """What comes after saving: evaluates the step (None: not this one), ranks its checkpoint, logs its values."""
    if evaluate:
        checkpoints.wait()  # an evaluation takes long, and may be what ends the run
        averaged = state.averaged
        results = evaluate(state.model, step) if averaged is None else evaluate(averaged, step, raw=state.model)
        checkpoints.rank(step, results)
        values = values | results
        if jax.process_index() == 0:
            callbacks.on_evaluation(step, results)
    if log and values:
        with told_where(log.path, "the last checkpoint is good; make room or mend the folder, and continue"):
            log.write(step, values)


def tell_of_checkpoint(step: int, checkpoints: Checkpoints, callbacks: Callbacks) -> None:
    """Where somebody listens, waits until the checkpoint of a step is complete and says so."""
    if callbacks.listening:
        checkpoints.wait()
        if jax.process_index() == 0:
            callbacks.on_checkpoint(step, checkpoints.directory / FOLDER / str(step))


def restored(checkpoints: Checkpoints, name: str) -> Any:
    """A fact of the newest checkpoint: what its step had to log when it was saved, or what was skipped before. None
    where there is no checkpoint, or one of an older version without this fact."""
    return None if checkpoints.latest_step is None else checkpoints.about().get(name)


def wants_evaluation(config: ConfigDict, step: int) -> bool:
    """True for the last step, and every config.eval.every steps before."""
    return step >= config.train.num_steps or (step > 0 and is_due(step, config.eval.every))


def is_due(step: int, every: int) -> bool:
    """True at multiples of `every`; 0 stands for never."""
    return every > 0 and step % every == 0


def next_batch(source: Iterator[Batch], step: int) -> Batch:
    """The next batch; raises UserError where the iterator ends before the run."""
    batch = next(source, None)
    if batch is None:
        raise UserError(f"the training batches ended before step {step}; give an endless iterator or fewer steps")
    return batch


def settle(in_flight: InFlight, allowed: int, bad: BadSteps, bar: tqdm, callbacks: Callbacks = NOBODY) -> None:
    """Waits until at most `allowed` steps are on the devices; raises NonFiniteError after too many bad ones."""
    while len(in_flight) > allowed:
        step, metrics, image_ids = in_flight.popleft()
        line = bad.note(step, metrics, image_ids)
        if callbacks.listening and jax.process_index() == 0:
            callbacks.on_step(step, {name: float(value) for name, value in metrics.items()})
        if line and not bar.disable:
            bar.write(line)
        bar.update()


def check_finite(state: TrainState) -> None:
    """Raises NonFiniteError where a parameter, statistic or moment is NaN or infinite: that is never written.

    Skipping bad steps keeps a state finite; one that never was came from weights or from an absurd learning rate.
    """
    if not bool(whole_state_finite(state)):
        raise NonFiniteError(f"step {int(state.step)}: parameters or statistics are not finite; nothing was saved")


whole_state_finite = jax.jit(all_finite)


def check_same_data(checkpoints: Checkpoints, fingerprint: str, workdir: Path) -> None:
    """Refuses to continue on other data than the run began with."""
    before = checkpoints.about()["data"]
    if before != fingerprint:
        raise UserError(
            f"{workdir} was trained on other data (fingerprint {before}, now {fingerprint}); use another workdir, "
            "with --config.init_from to start from its weights"
        )


def first_state(
    config: ConfigDict, state: TrainState, weights: Path | None, names: Names | None
) -> tuple[TrainState, set[str], list[str]]:
    """The state of step 0, the names of its model's arrays that no weights were given for, and lines on the others."""
    if weights is None:
        return state, set(named_leaves(state.model)), []
    model, table, lines = start_from(weights, config, state.model, names)
    params, rest = taken_apart(model, state.params), taken_apart(model, state.rest)
    ema = None if state.ema is None else first_average(params)
    return replace(state, params=params, rest=rest, ema=ema), set(table.drawn), lines


def taken_apart(model: nnx.State, part: nnx.State) -> nnx.State:
    """The variables of a whole model that a part of it has."""
    leaves = named_leaves(model)
    return fill_weights(part, {name: leaves[name] for name in named_leaves(part)})


def warn_of_frozen(rest: nnx.State, drawn: set[str]) -> None:
    """Says so where kernels that never train hold what was drawn for them: a fresh resnet's stem and first stage, or
    what optimizer.freeze names."""
    frozen = nnx.filter_state(rest, nnx.Any(Frozen, nnx.Param))
    random = [name for name in named_leaves(frozen) if name in drawn and name.endswith("kernel")]
    if random:
        print(
            f"warning: {len(random)} frozen kernels ({random[0]}, ...) are random and will stay so; "
            "start from trained ones with --config.init_from"
        )
