"""One command line for everything.

Trains (continues where DIR holds a checkpoint), evaluates a checkpoint (the newest by default), draws poses, exports,
plans for a TPU that is not there, runs one training step again (the one that ended the run by default):

    python launch.py --config=configs/X.py --workdir=DIR
    python launch.py --config=configs/X.py --workdir=DIR --mode=eval [--step=N]
    python launch.py --workdir=DIR --mode=predict --input=PICTURE|DIR|VIDEO|0 --output=DIR [--threshold=0.3] [--track]
    python launch.py --workdir=DIR --mode=export --output=DIR [--canvases=800x1088,1088x800] [--batch_sizes=1,8]
    python launch.py --config=configs/X.py --mode=plan --topology=v5e:4x8
    python launch.py --workdir=DIR --mode=replay [--step=N]

--config.a.b=value overrides one value. eval, predict, export and replay take DIR/config.json where --config is not
given.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
from absl import flags, logging
from flax import nnx
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from configs import common
from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.structures import Batch
from querypose_jax.training.check_config import check_config
from querypose_jax.training.check_keys import check_keys
from querypose_jax.training.config_json import check_same_run, read_config
from querypose_jax.training.distributed import join
from querypose_jax.training.process import keep_programs, prepare_process
from querypose_jax.training.results import evaluation_folder, plain_evaluation

DEFAULT_CONFIG = str(Path(__file__).parent / "configs" / "synthetic_tiny.py")

NEEDS = {  # flags of a mode
    "train": ["workdir"],
    "eval": ["workdir"],
    "predict": ["workdir", "input", "output"],
    "export": ["workdir", "output"],
    "plan": ["topology"],
    "replay": ["workdir"],
}


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code: 0, 2 for bad input, 3 for a loss that is not finite."""
    logging.set_verbosity(logging.FATAL)  # orbax talks, also about errors that it raises
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # tensorflow too
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announced at every start, of no use for reading data
    try:
        return command_line.run(run, __doc__, define_flags, argv, DEFAULT_CONFIG)
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "tensorflow_datasets"):
            raise
        print(
            f"error: {error.name} reads the data but is not installed; pip install 'querypose_jax[train]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "folder of the run", **values)
    flags.DEFINE_enum("mode", "train", list(NEEDS), "what to do", **values)
    step = "eval, predict, export: the checkpoint of this step; default: the newest. replay: this step"
    flags.DEFINE_integer("step", None, step, **values)
    flags.DEFINE_string("input", None, "predict: picture, folder, glob, list (.txt), video, camera number", **values)
    flags.DEFINE_string("output", None, "predict, export: folder for the results", **values)
    flags.DEFINE_list("canvases", None, "export: HEIGHTxWIDTH,... in pixels; default: those of the run", **values)
    flags.DEFINE_list("batch_sizes", ["1"], "export: pictures that a program takes at once", **values)
    flags.DEFINE_list("platforms", ["cpu", "cuda", "tpu"], "export: where the programs run", **values)
    flags.DEFINE_string("topology", None, "plan: TPU slice, e.g. v5e:4x8", **values)
    flags.DEFINE_string("coordinator", None, "several processes: HOST:PORT of process 0", **values)
    flags.DEFINE_integer("process_id", None, "several processes: which one this is, from 0", **values)
    flags.DEFINE_integer("num_processes", None, "several processes: how many", **values)
    flags.DEFINE_float("threshold", 0.3, "predict: smallest score of a reported person", **values)
    flags.DEFINE_boolean("track", False, "predict: number the people of a video over its frames", **values)


def run(options: flags.FlagValues) -> None:
    """Checks that the flags of a mode are there and that its configuration makes sense, then does it."""
    if missing := [f"--{name}" for name in NEEDS[options.mode] if not options[name].value]:
        raise UserError(f"command line: mode {options.mode} needs {', '.join(missing)}")
    config = options.config if options.mode in ("train", "plan") else run_config(options)
    if not options["config"].using_default_value:
        check_keys(config, common.get_config())
    check_config(config)
    if options.mode in ("train", "eval"):
        join(options.coordinator, options.process_id, options.num_processes, config.train.heartbeat_s)
    modes = {"train": train, "eval": evaluate, "predict": predict, "export": export, "plan": plan, "replay": replay}
    modes[options.mode](options, config)


def run_config(options: flags.FlagValues) -> ConfigDict:
    """The configuration on the command line, or that of the run with the overrides on the command line."""
    if not options["config"].using_default_value:
        return options.config
    config = common.get_config()  # for keys that runs of older versions do not have
    with config.ignore_type():  # data.skeleton may be a group instead of a name
        config.update(read_config(Path(options.workdir)))
    try:
        config.update_from_flattened_dict(config_flags.get_override_values(options["config"]))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"command line: {command_line.one_line(error)} in the run of {options.workdir}") from None
    return config


def train(options: flags.FlagValues, config: ConfigDict) -> None:
    """Trains, then evaluates the final step."""
    from input_pipeline import skipping
    from input_pipeline.loader import open_split, train_batches
    from querypose_jax.training import loop, preemption
    from querypose_jax.training.results import read_results
    from querypose_jax.training.sharding import make_mesh
    from querypose_jax.training.summary import data_summary, model_summary

    workdir = Path(options.workdir)
    check_same_run(workdir, config)  # before data are prepared
    shards = make_mesh(config.mesh).size
    split = open_split(config, config.data.train_split)
    if jax.process_index() == 0:
        print(model_summary(config))
        amounts = len(split.annotations.image_id), int(split.annotations.is_target.sum())
        print(data_summary(*amounts, config, shards, skipping.as_text(split.skipped)))
    evaluated = []

    with preemption.listen(config.train.grace_s) as stop:
        evaluate_step = make_evaluate(plain_evaluation(config), workdir, stop)

        def evaluation(model: nnx.State, step: int) -> dict[str, float]:
            evaluated.append(step)
            return evaluate_step(model, step)

        try:
            state = loop.train(
                config,
                lambda start_step: train_batches(config, split, start_step=start_step, shards=shards, **processes()),
                workdir,
                evaluation,
                split.fingerprint,
                stop,
            )
        except preemption.Stopped:  # in an evaluation: its step is saved
            state = None
    if jax.process_index() != 0:
        return
    step = evaluated[-1] if state is None else int(state.step)
    if state is None or step < config.train.num_steps:
        print(f"SIGTERM: {workdir} is saved at step {step}; the same command continues")
    elif not evaluated:
        print(f"{workdir} is trained to step {step} already")
        report(evaluation_folder(plain_evaluation(config), workdir, step), step, read_results(workdir, step))


def evaluate(options: flags.FlagValues, config: ConfigDict) -> None:
    """Evaluates one checkpoint."""
    from querypose_jax.training.checkpoint import find_step, load_model
    from querypose_jax.training.distributed import together
    from querypose_jax.training.sharding import make_mesh, replicated

    workdir = Path(options.workdir)
    step = find_step(workdir, options.step)
    evaluate_step = make_evaluate(config, workdir)
    mesh = make_mesh(config.mesh)
    _, _, state = load_model(workdir, step, config, replicated(mesh))
    with together():
        evaluate_step(state, step)


def predict(options: flags.FlagValues, config: ConfigDict) -> None:
    """Finds people on pictures or videos of the user's own; needs no tensorflow."""
    from querypose_jax.inference.predict_input import predict_input
    from querypose_jax.inference.predictor import Predictor

    predictor = Predictor.from_checkpoint(options.workdir, options.step, config)
    print(predict_input(predictor, options.input, options.output, options.threshold, options.track))


def export(options: flags.FlagValues, config: ConfigDict) -> None:
    """Writes a checkpoint as programs that run without this project."""
    from querypose_jax.inference.export import export_model
    from querypose_jax.inference.predictor import Predictor

    try:
        canvases = [tuple(map(int, text.split("x"))) for text in options.canvases or ()]
        batch_sizes = [int(text) for text in options.batch_sizes]
    except ValueError as error:
        raise UserError(f"command line: canvases are HEIGHTxWIDTH, batch sizes numbers ({error})") from None
    config.model.roi_align = "auto"  # XLA's path on every platform: calls of kernels are not stable across versions
    predictor = Predictor.from_checkpoint(options.workdir, options.step, config)
    folder = export_model(predictor, options.output, canvases or None, batch_sizes, options.platforms)
    print(f"programs, weights and the loader exported.py are in {folder}")


def plan(options: flags.FlagValues, config: ConfigDict) -> None:
    """Says what a TPU slice would need for this configuration, without one."""
    from querypose_jax.inference.predict import make_predict
    from querypose_jax.training.plan import print_plan

    print_plan(config, options.topology, make_predict)


def replay(options: flags.FlagValues, config: ConfigDict) -> None:
    """Runs one step of a run again and says what in it is not finite."""
    from input_pipeline.loader import open_split, train_batches
    from querypose_jax.training.replay import replay as replayed
    from querypose_jax.training.sharding import make_mesh

    shards = make_mesh(config.mesh).size
    split = open_split(config, config.data.train_split)

    def batches(start_step: int) -> Iterator[Batch]:
        return train_batches(config, split, start_step=start_step, shards=shards)

    print(replayed(config, batches, options.workdir, options.step, split.fingerprint))


def processes() -> dict[str, int]:
    """Which part of every batch this process reads."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def make_evaluate(
    config: ConfigDict, workdir: Path, stop: Callable[[], bool] | None = None
) -> Callable[[nnx.State, int], dict[str, float]]:
    """`evaluate(model state, step)`: writes into `evaluation_folder`, prints the table and where the pictures are.

    A split without annotations gets the file for the server instead. Between two batches it raises preemption.Stopped
    once `stop()` says so.
    """
    from input_pipeline.loader import eval_batches, open_split
    from querypose_jax.evaluation import runner
    from querypose_jax.evaluation.coco import get_scorer
    from querypose_jax.evaluation.flip import with_flip
    from querypose_jax.evaluation.gather import gathering
    from querypose_jax.evaluation.scoring import Scoring
    from querypose_jax.evaluation.submission import write_submission
    from querypose_jax.inference.predict import make_predict
    from querypose_jax.models.querypose.pruning import COCO
    from querypose_jax.skeletons import get_skeleton
    from querypose_jax.training.checkpoint import abstract_model
    from querypose_jax.training.preemption import never, stop_between
    from querypose_jax.training.sharding import make_mesh, put_batch, whole

    mesh = make_mesh(config.mesh)
    feeds_back = config.model.carry_query_at_test or config.model.query_feedback == "all"
    reads_all = config.eval.flip or config.eval.released_rescore or feeds_back
    prunes = config.eval.prune and not reads_all
    scoring = Scoring(
        config.data.name == "crowdpose", config.eval.released_rescore, get_scorer(config.eval.scorer), prunes
    )
    split_name = config.eval.split or config.data.eval_split
    split = open_split(config, split_name)
    num_pictures = len(split.annotations.image_id[: config.eval.max_pictures or None])
    skeleton = get_skeleton(config.data.skeleton)
    compiled = make_predict(abstract_model(config)[0], COCO if prunes else None)
    compiled = with_flip(compiled, skeleton) if config.eval.flip else compiled
    drawn = {"num_drawn": config.eval.num_drawn, "draw_threshold": config.eval.draw_threshold}

    def evaluate_step(state: nnx.State, step: int) -> dict[str, float]:
        folder = evaluation_folder(config, workdir, step)
        with jax.set_mesh(mesh):
            state = whole(state, mesh)
            find = gathering(lambda batch: compiled(state, batch), mesh)
            batches = stop_between(stop or never, eval_batches(config, split, shards=mesh.size, **processes()))
            given = (lambda batch: find(put_batch(batch, mesh)), batches, split.ground_truth(), skeleton)
            if split.is_labelled:
                metrics = runner.evaluate(*given, folder, **drawn, num_pictures=num_pictures, scoring=scoring)
            else:
                drawing = runner.Drawing(folder, *drawn.values())
                _, detections = runner.detect(*given, drawing, num_pictures=num_pictures)
                metrics = {}
        if jax.process_index() == 0 and split.is_labelled:
            report(folder, step, metrics)
        elif jax.process_index() == 0:
            path = write_submission(detections, folder, split_name, config.model.name)
            tqdm.write(f"\nstep {step}: {path} is for the evaluation server")
        return metrics

    return evaluate_step


def report(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """Prints the tables of an evaluated step and where its pictures are."""
    from querypose_jax.evaluation.report import tables

    tqdm.write(f"\nstep {step}\n{tables(folder, metrics)}\npictures with predicted poses: {folder / 'pictures'}")


if __name__ == "__main__":
    prepare_process()
    keep_programs()
    code = main(sys.argv)
    if code:  # leave at once: after a save that failed, threads of orbax wait for minutes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
