"""Exchanges weights with PyTorch.

From a file of others to a checkpoint for --mode=eval, --mode=predict and --config.init_from:

    python -m querypose_jax.weights --input=FILE [--output=DIR] [--config=configs/X.py] [--source=SOURCE]

FILE ends with .pth, .pt, .pkl or .safetensors; an address or a name of docs/models.md is downloaded first, where
--sha256 says which file it must be. What is in it (family, backbone, joints) is told from names and shapes unless
--config says it; without --output the import goes into the user's cache, where --weights=FILE finds it. SOURCE says
whose names are in the file: official (released checkpoints, and the files they start from), detectron2, torchvision,
timm, hrnet, centernet or mmpose; it is told from the names too. What is missing, unexpected or of another shape is an
error unless --allow-missing=PATTERN, a regular expression, is found in its name.

From a checkpoint of ours to a file with the released names:

    python -m querypose_jax.weights --to=official --input=DIR --output=FILE.safetensors [--step=N] [--raw]

A run that averages its parameters gives the averages, with --raw the parameters themselves.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.weights.cache import imported
from querypose_jax.weights.download import local_file
from querypose_jax.weights.exporting import export_weights
from querypose_jax.weights.importing import import_weights
from querypose_jax.weights.sources import SOURCES


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code, 2 for bad input."""
    logging.set_verbosity(logging.ERROR)  # orbax talks
    return command_line.run(run, __doc__, define_flags, argv, needs_config=False)


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_enum("source", None, SOURCES, "import: whose names the file has", **values)
    flags.DEFINE_enum("to", None, ["official"], "export: whose names the file is to have", **values)
    file = "import: file, address or published name; export: folder of a run or an import"
    flags.DEFINE_string("input", None, file, **values)
    flags.DEFINE_string("output", None, "import: new folder, default: in the cache; export: FILE.safetensors", **values)
    flags.DEFINE_string("sha256", "", "import from an address: checksum of the file, or any", **values)
    flags.DEFINE_string("allow-missing", None, "import: regular expression for names that need not fit", **values)
    flags.DEFINE_integer("step", None, "export: the checkpoint of this step; default: the newest", **values)
    flags.DEFINE_boolean("raw", False, "export: the parameters themselves where the run averages them", **values)


def run(options: flags.FlagValues) -> None:
    """Imports or exports, whichever is asked for, and prints what was done."""
    if options.source and options.to:
        raise UserError("command line: either --source=... (import) or --to=official (export)")
    needed = ("input", "output") if options.to else ("input",)
    if missing := [f"--{name}" for name in needed if not options[name].value]:
        raise UserError(f"command line: {', '.join(missing)} is missing")
    output, allow = options.output and Path(options.output), options["allow-missing"].value or None
    if options.to:
        lines = export_weights(Path(options.input), output, options.step, options.raw)
    elif output:
        lines = import_weights(local_file(options.input, options.sha256), options.source, options.config, output, allow)
    elif options.source or allow:
        raise UserError("command line: --output is missing; an import with --source or --allow-missing needs a folder")
    else:
        folder, lines = imported(local_file(options.input, options.sha256), options.config)
        lines = lines or [f"{options.input} is imported already: {folder}"]
    print("\n".join(lines))
