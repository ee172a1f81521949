"""Exchanges weights with PyTorch.

From a file of others to a checkpoint for --mode=eval, --mode=predict and --config.init_from:

    python -m querypose_jax.weights --source=SOURCE --input=FILE --config=configs/X.py --output=DIR

SOURCE says whose names are in the file: official (released checkpoints, and the files they start from), detectron2,
torchvision, timm, hrnet, centernet or mmpose. FILE ends with .pth, .pt, .pkl or .safetensors. What is missing,
unexpected or of another shape is an error unless --allow-missing=PATTERN, a regular expression, is found in its name.

From a checkpoint of ours to a file with the released names:

    python -m querypose_jax.weights --to=official --input=DIR --output=FILE.safetensors [--step=N] [--raw]

A run that averages its parameters gives the averages, with --raw the parameters themselves.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.weights.exporting import export_weights
from querypose_jax.weights.importing import import_weights
from querypose_jax.weights.sources import SOURCES


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code, 2 for bad input."""
    logging.set_verbosity(logging.ERROR)  # orbax talks
    needs_config = not any(argument.startswith(("--to=", "-to=")) for argument in argv)
    return command_line.run(run, __doc__, define_flags, argv, needs_config=needs_config)


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_enum("source", None, SOURCES, "import: whose names the file has", **values)
    flags.DEFINE_enum("to", None, ["official"], "export: whose names the file is to have", **values)
    flags.DEFINE_string("input", None, "import: file of weights; export: folder of a run or an import", **values)
    flags.DEFINE_string("output", None, "import: new folder; export: FILE.safetensors", **values)
    flags.DEFINE_string("allow-missing", None, "import: regular expression for names that need not fit", **values)
    flags.DEFINE_integer("step", None, "export: the checkpoint of this step; default: the newest", **values)
    flags.DEFINE_boolean("raw", False, "export: the parameters themselves where the run averages them", **values)


def run(options: flags.FlagValues) -> None:
    """Imports or exports, whichever is asked for, and prints what was done."""
    if (options.source is None) == (options.to is None):
        raise UserError("command line: either --source=... (import) or --to=official (export)")
    if missing := [f"--{name}" for name in ("input", "output") if not options[name].value]:
        raise UserError(f"command line: {', '.join(missing)} is missing")
    source, output = Path(options.input), Path(options.output)
    if options.to:
        lines = export_weights(source, output, options.step, options.raw)
    else:
        lines = import_weights(source, options.source, options.config, output, options["allow-missing"].value or None)
    print("\n".join(lines))
