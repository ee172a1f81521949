"""Measures this machine and prints one table.

    python -m querypose_jax.bench input --config=configs/X.py [--rounds=5] [--config.a.b=value]

input      pictures/s of the data pipeline against decoding and resizing alone
"""

import importlib
import sys

from absl import flags

from querypose_jax import command_line
from querypose_jax.errors import UserError

TABLES = ("input",)


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_integer("rounds", 5, "how often the candidates take turns", lower_bound=1, **values)


def main(argv: list[str]) -> int:
    """Runs one benchmark; returns the exit code."""
    name = argv[1] if len(argv) > 1 else ""

    def run(options: flags.FlagValues) -> None:
        if name not in TABLES:
            raise UserError(f"command line: {name!r} is no benchmark; known: {', '.join(TABLES)}")
        print(importlib.import_module(f"querypose_jax.bench.{name}").run(options.config, options.rounds))

    return command_line.run(run, __doc__, define_flags, [argv[0], *argv[2:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
