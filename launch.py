"""One command line for everything.

Trains (continues where DIR holds a checkpoint), evaluates a checkpoint (the newest by default), draws poses:

    python launch.py --config=configs/X.py --workdir=DIR
    python launch.py --config=configs/X.py --workdir=DIR --mode=eval [--step=N]
    python launch.py --workdir=DIR --mode=predict --input=PICTURE|DIR --output=DIR [--threshold=0.3]

--config.a.b=value overrides one value. eval takes DIR/config.json where --config is not given; predict always does.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import flags, logging
from flax import nnx
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from querypose_jax.errors import UserError

DEFAULT_CONFIG = str(Path(__file__).parent / "configs" / "synthetic_tiny.py")


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code: 0, 2 for bad input, 3 for a loss that is not finite."""
    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    logging.set_verbosity(logging.ERROR)  # orbax talks
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # tensorflow too
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announced at every start, of no use for reading data
    try:
        options = parse_flags(argv)
        {"train": train, "eval": evaluate, "predict": predict}[options.mode](options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "tensorflow_datasets"):
            raise
        print(
            f"error: {error.name} reads the data but is not installed; pip install 'querypose_jax[train]'",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parse_flags(argv: Sequence[str]) -> flags.FlagValues:
    """The command line as values; raises UserError for an unknown flag, config key or file."""
    values = flags.FlagValues()
    define = {"flag_values": values}
    for path in (argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")):
        if not Path(path).is_file():
            raise UserError(f"command line: {path}: no such config file; those of the library are in configs/")
    try:
        flags.DEFINE_string("workdir", None, "folder of the run", **define)
        flags.DEFINE_enum("mode", "train", ["train", "eval", "predict"], "what to do", **define)
        flags.DEFINE_integer("step", None, "eval, predict: the checkpoint of this step; default: the newest", **define)
        flags.DEFINE_string("input", None, "predict: picture, folder or glob", **define)
        flags.DEFINE_string("output", None, "predict: folder for the results", **define)
        flags.DEFINE_float("threshold", 0.3, "predict: smallest score of a reported person", **define)
        config_flags.DEFINE_config_file("config", DEFAULT_CONFIG, "python file", sys_argv=list(argv), **define)
        rest = values(list(argv))
    except Exception as error:  # flags and config files fail in many ways; all are the user's
        raise UserError(
            f"command line: {one_line(error)}; --help shows the flags, configs/common.py the keys"
        ) from None
    if rest[1:]:
        raise UserError(f"command line: unexpected {' '.join(rest[1:])!r}; flags are written --name=value")
    required = ["workdir", "input", "output"] if values.mode == "predict" else ["workdir"]
    if missing := [f"--{name}" for name in required if not values[name].value]:
        raise UserError(f"command line: mode {values.mode} needs {', '.join(missing)}")
    return values


def one_line(error: Exception) -> str:
    """The message of an error without line breaks; an unknown config key is called that."""
    text = " ".join(str(error).replace("\\n", " ").split())
    if isinstance(error, KeyError | AttributeError):
        return "unknown config key " + re.sub(r"[\\'\"]", "", text).replace(" Did you", ", did you").rstrip("?")
    return text.rstrip(".") or type(error).__name__


def train(options: flags.FlagValues) -> None:
    """Trains, then evaluates the final step."""
    from input_pipeline.loader import open_split, train_batches
    from querypose_jax.training import loop
    from querypose_jax.training.config_json import check_same_run
    from querypose_jax.training.sharding import make_mesh

    config, workdir = options.config, Path(options.workdir)
    check_same_run(workdir, config)  # before data are prepared
    shards = make_mesh(config.mesh).shape["data"]
    split = open_split(config, config.data.train_split)
    evaluation = make_evaluate(config, workdir)
    evaluated_before = {path.parent.name for path in workdir.glob("eval/*/metrics.json")}
    state = loop.train(
        config,
        lambda start_step: train_batches(config, split, start_step=start_step, shards=shards, **processes()),
        workdir,
        evaluation,
        split.fingerprint,
    )
    folder = workdir / "eval" / str(int(state.step))
    if folder.name in evaluated_before:
        print(f"{workdir} is trained to step {folder.name} already")
        report(folder, json.loads((folder / "metrics.json").read_text()))
    elif not folder.exists():  # killed between the last checkpoint and its evaluation
        evaluation(state.model, int(state.step))


def evaluate(options: flags.FlagValues) -> None:
    """Evaluates one checkpoint."""
    from querypose_jax.training.checkpoint import find_step, load_model
    from querypose_jax.training.sharding import make_mesh, replicated

    workdir = Path(options.workdir)
    config = run_config(options)
    step = find_step(workdir, options.step)
    mesh = make_mesh(config.mesh)
    _, _, state = load_model(workdir, step, config, replicated(mesh))
    make_evaluate(config, workdir)(state, step)


def predict(options: flags.FlagValues) -> None:
    """Finds people on pictures of the user's own; needs no tensorflow."""
    from querypose_jax.inference.files import predict_files
    from querypose_jax.inference.predictor import Predictor

    predictor = Predictor.from_checkpoint(options.workdir, step=options.step)
    count = predict_files(predictor, options.input, options.output, options.threshold)
    print(f"{count} pictures with poses and predictions.json are in {options.output}")


def processes() -> dict[str, int]:
    """Which part of every batch this process reads."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def run_config(options: flags.FlagValues) -> ConfigDict:
    """The configuration on the command line, or that of the run with the overrides on the command line."""
    from querypose_jax.training.config_json import NAME, read_config

    if options["config"].using_default_value and (Path(options.workdir) / NAME).exists():
        config = read_config(Path(options.workdir))
        config.update_from_flattened_dict(config_flags.get_override_values(options["config"]))
        return config
    return options.config


def make_evaluate(config: ConfigDict, workdir: Path) -> Callable[[nnx.State, int], dict[str, float]]:
    """`evaluate(model state, step)`: writes WORKDIR/eval/STEP, prints the table and where the pictures are."""
    from input_pipeline.loader import eval_batches, open_split
    from querypose_jax.evaluation import runner
    from querypose_jax.inference.predict import make_predict
    from querypose_jax.skeletons import get_skeleton
    from querypose_jax.training.checkpoint import abstract_model
    from querypose_jax.training.sharding import make_mesh, put_batch

    mesh = make_mesh(config.mesh)
    split = open_split(config, config.data.eval_split)
    num_pictures = len(split.annotations.image_id[: config.eval.max_pictures or None])
    skeleton = get_skeleton(config.data.skeleton)
    compiled = make_predict(abstract_model(config)[0])

    def evaluate_step(state: nnx.State, step: int) -> dict[str, float]:
        folder = workdir / "eval" / str(step)
        with jax.set_mesh(mesh):
            metrics = runner.evaluate(
                lambda batch: compiled(state, put_batch(batch, mesh)),
                eval_batches(config, split, shards=mesh.shape["data"], **processes()),
                split.ground_truth(),
                skeleton,
                folder,
                num_drawn=config.eval.num_drawn,
                draw_threshold=config.eval.draw_threshold,
                num_pictures=num_pictures,
            )
        report(folder, metrics)
        return metrics

    return evaluate_step


def report(folder: Path, metrics: dict[str, float]) -> None:
    """Prints the table of an evaluated step and where its files are."""
    from querypose_jax.evaluation.coco import metrics_table

    tqdm.write(f"\nstep {folder.name}\n{metrics_table(metrics)}\npictures with predicted poses: {folder / 'pictures'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
