"""One command line for everything.

Trains (continues where DIR holds a checkpoint), evaluates a checkpoint (the newest by default), draws poses, serves a
page to try it, exports, plans for a TPU that is not there, runs one training step again (the one that ended the run by
default):

    python launch.py --config=configs/X.py --workdir=DIR
    python launch.py --config=configs/X.py --workdir=DIR --mode=eval [--step=N]
    python launch.py --workdir=DIR --mode=predict --input=PICTURE|DIR|VIDEO|ADDRESS|0 --output=DIR [--threshold=0.3]
        [--track] [--smooth]
    python launch.py --weights=FILE --mode=predict --input=PICTURE|DIR|VIDEO|ADDRESS|0 --output=DIR
    python launch.py --workdir=DIR --mode=serve [--port=8000] [--host=127.0.0.1]
    python launch.py --workdir=DIR --mode=export --output=DIR [--format=onnx] [--canvases=800x1088,1088x800]
        [--batch_sizes=1,8]
    python launch.py --config=configs/X.py --mode=plan --topology=v5e:4x8
    python launch.py --workdir=DIR --mode=replay [--step=N]

--config.a.b=value overrides one value. Where --config is not given a folder that holds a run already means that run's
DIR/config.json, also to train on. --weights names a file with the weights of a known model in place of a run: its path,
an address, or a name of docs/models.md. Of a run that averages its parameters (config.train.ema_decay) predict, serve
and export take the averages, with --raw the parameters themselves. Without --threshold predict takes the one that the
run's evaluation found best.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from absl import flags, logging
    from ml_collections import ConfigDict, config_flags
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; make env, then .venv/bin/python launch.py ...")

from querypose_jax import command_line
from querypose_jax.checkpoints.config_json import has_config, read_config
from querypose_jax.configuration.check_config import check_config
from querypose_jax.configuration.check_keys import check_keys
from querypose_jax.devices.distributed import join
from querypose_jax.devices.process import keep_programs, prepare_process
from querypose_jax.devices.usable import check_usable
from querypose_jax.errors import UserError

DEFAULT_CONFIG = str(Path(__file__).parent / "configs" / "synthetic_tiny.py")


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
            f"error: {error.name} reads the data but is not installed; pip install '.[train]' in the clone",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as error:
        print("interrupted; " + (str(error) or "the same command begins anew"), file=sys.stderr)
        return 130


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "folder of the run", **values)
    weights = "predict, export: weights in place of a run: a file, an address, or a name of docs/models.md"
    flags.DEFINE_string("weights", None, weights, **values)
    flags.DEFINE_string("sha256", "", "weights from an address: checksum of the file, or any", **values)
    flags.DEFINE_enum("mode", "train", list(MODES), "what to do", **values)
    step = "eval, predict, serve, export: the checkpoint of this step; default: the newest. replay: this step"
    flags.DEFINE_integer("step", None, step, **values)
    raw = "predict, serve, export: the parameters themselves where the run averages them (train.ema_decay)"
    flags.DEFINE_boolean("raw", False, raw, **values)
    flags.DEFINE_string("input", None, "predict: picture, folder, glob, list, video, camera number, address", **values)
    flags.DEFINE_string("output", None, "predict, export: folder for the results", **values)
    flags.DEFINE_string("host", "127.0.0.1", "serve: address to listen at; default: this machine only", **values)
    flags.DEFINE_integer("port", 8000, "serve: port to listen at", lower_bound=0, upper_bound=65535, **values)
    flags.DEFINE_list("canvases", [], "export: HEIGHTxWIDTH,... in pixels; default: those of the run", **values)
    flags.DEFINE_list("batch_sizes", ["1"], "export: pictures that a program takes at once", **values)
    flags.DEFINE_list("platforms", ["cpu", "cuda", "tpu"], "export: where programs in StableHLO run", **values)
    flags.DEFINE_enum("format", "stablehlo", ["stablehlo", "onnx"], "export: in which form", **values)
    flags.DEFINE_string("topology", None, "plan: TPU slice, e.g. v5e:4x8", **values)
    flags.DEFINE_string("coordinator", None, "several processes: HOST:PORT of process 0", **values)
    flags.DEFINE_integer("process_id", None, "several processes: which one this is, from 0", **values)
    flags.DEFINE_integer("num_processes", None, "several processes: how many", **values)
    threshold = "predict: smallest score of a reported person; default: what the evaluation of the run has found"
    flags.DEFINE_float("threshold", None, threshold, **values)
    flags.DEFINE_boolean("track", False, "predict: number the people of a video over its frames", **values)
    flags.DEFINE_boolean("smooth", False, "predict: follow people and smooth their joints over the frames", **values)


def run(options: flags.FlagValues) -> None:
    """Checks that the flags of a mode are there and that its configuration makes sense, then does it."""
    needed, do = MODES[options.mode]
    given = {"workdir": options.weights} if options.weights else {}
    if missing := [f"--{name}" for name in needed if not (options[name].value or given.get(name))]:
        instead = " (or --weights)" if "--workdir" in missing and options.mode in TAKE_WEIGHTS else ""
        raise UserError(f"command line: mode {options.mode} needs {', '.join(missing)}{instead}")
    if options.weights:
        options.workdir = weights_folder(options)
    is_new = options.mode == "train" and not has_config(Path(options.workdir))
    config = options.config if is_new or options.mode == "plan" else run_config(options)
    if is_new and options["config"].using_default_value:
        print(f"no --config: {Path(DEFAULT_CONFIG).name}, a small model of drawn people")
    check_keys(config)
    check_config(config)
    if options.mode in ("train", "eval"):
        join(options.coordinator, options.process_id, options.num_processes, config.train.heartbeat_s)
    if options.mode != "plan":  # which takes the processor, whatever there is
        check_usable()
    try:
        said = do(options, config)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or after_interrupt(options)) from None
    if said:
        print(said)


def after_interrupt(options: flags.FlagValues) -> str:
    """What the same command would do. A prediction that has something to keep says so itself."""
    said = {
        "eval": "no metrics were written; the same command evaluates from the first picture on",
        "predict": "nothing was added; the same command does what is left to do",
    }
    if options.mode == "train" and any(Path(options.workdir).glob("checkpoints/[0-9]*")):
        return "the same command continues from the last checkpoint"
    return said.get(options.mode, "nothing is saved yet; the same command begins anew")


def weights_folder(options: flags.FlagValues) -> str:
    """The folder of the import of --weights, which is made where it is not there yet."""
    if options.mode not in TAKE_WEIGHTS or options.workdir:
        raise UserError("command line: --weights stands in place of --workdir in the modes predict and export")
    from querypose_jax.weights.cache import imported
    from querypose_jax.weights.download import local_file

    config = None if options["config"].using_default_value else options.config
    folder, lines = imported(local_file(options.weights, options.sha256), config)
    for line in lines:
        print(line)
    return str(folder)


def run_config(options: flags.FlagValues) -> ConfigDict:
    """The configuration on the command line, or that of the run with the overrides on the command line."""
    if not options["config"].using_default_value:
        return options.config
    config = read_config(Path(options.workdir))
    try:
        config.update_from_flattened_dict(config_flags.get_override_values(options["config"]))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"command line: {command_line.one_line(error)} in the run of {options.workdir}") from None
    return config


# The verbs import what they do when they are asked for: predict needs no tensorflow, plan no orbax.


def train(options: flags.FlagValues, config: ConfigDict) -> None:
    from querypose_jax.runs.train import train

    train(config, Path(options.workdir))


def evaluate(options: flags.FlagValues, config: ConfigDict) -> None:
    from querypose_jax.runs.evaluate import evaluate

    evaluate(config, Path(options.workdir), options.step)


def predict(options: flags.FlagValues, config: ConfigDict) -> str:
    from querypose_jax.runs.predict import predict

    given = options.input, options.output, options.threshold, options.track, options.smooth
    return predict(config, Path(options.workdir), options.step, options.raw, *given)


def export(options: flags.FlagValues, config: ConfigDict) -> str:
    from querypose_jax.runs.export import export

    given = options.output, options.canvases, options.batch_sizes, options.platforms, options.format
    return export(config, Path(options.workdir), options.step, options.raw, *given)


def serve(options: flags.FlagValues, config: ConfigDict) -> str:
    from querypose_jax.runs.serve import serve

    return serve(config, Path(options.workdir), options.step, options.raw, options.host, options.port)


def plan(options: flags.FlagValues, config: ConfigDict) -> None:
    from querypose_jax.runs.plan import plan

    plan(config, options.topology)


def replay(options: flags.FlagValues, config: ConfigDict) -> str:
    from querypose_jax.runs.replay import replay

    return replay(config, Path(options.workdir), options.step)


MODES = {  # verb -> flags that it needs, what it does
    "train": (("workdir",), train),
    "eval": (("workdir",), evaluate),
    "predict": (("workdir", "input", "output"), predict),
    "export": (("workdir", "output"), export),
    "serve": (("workdir",), serve),
    "plan": (("topology",), plan),
    "replay": (("workdir",), replay),
}
TAKE_WEIGHTS = ("predict", "export")  # in place of a run


def whole_process(argv: Sequence[str]) -> None:
    """Runs one command in a process of its own, and ends that where something is wrong."""
    prepare_process()
    keep_programs()
    code = main(argv)
    if code:  # leave at once: after a save that failed, threads of orbax wait for minutes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def console() -> None:
    """The command querypose-jax: the verb comes first, then the flags of launch.py; `weights` exchanges weights."""
    program, *arguments = sys.argv
    verb = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if verb == "weights":
        from querypose_jax.weights.command import main as exchange

        sys.exit(exchange([program, *arguments[1:]]))
    if verb not in MODES and arguments[:1] not in (["--help"], ["-h"]):
        wrong = f"{verb!r} is no verb" if verb else "the verb comes first"
        print(f"error: {wrong}: {program} {'|'.join(MODES)}|weights --FLAG=VALUE ...", file=sys.stderr)
        sys.exit(2)
    whole_process([program, *([f"--mode={verb}"] if verb else []), *arguments[1 if verb else 0 :]])


if __name__ == "__main__":
    whole_process(sys.argv)
