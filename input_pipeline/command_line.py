"""What the commands of this package share: flags with a config, bad input as one line on stderr and exit code 2."""

import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from querypose_jax.errors import UserError


def run(command: Callable[[flags.FlagValues], int], description: str, define: Callable[..., None]) -> int:
    """Parses sys.argv, runs a command and returns the exit code.

    Args:
        command: from the parsed flags to an exit code.
        description: what --help prints.
        define: defines the command's own flags on the flag_values it is given; --config is there already.
    """
    if "--help" in sys.argv or "-h" in sys.argv:
        print(description)
        return 0
    try:
        return command(_parsed(define))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parsed(define: Callable[..., None]) -> flags.FlagValues:
    values = flags.FlagValues()
    for path in (argument.removeprefix("--config=") for argument in sys.argv if argument.startswith("--config=")):
        if not Path(path).is_file():
            raise UserError(f"command line: {path}: no such config file; those of the library are in configs/")
    try:
        define(flag_values=values)
        config_flags.DEFINE_config_file("config", None, "python file", sys_argv=sys.argv, flag_values=values)
        rest = values(sys.argv)[1:]
    except Exception as error:  # flags and config files fail in many ways; all are the user's
        text = " ".join(str(error).replace("\\n", " ").split())
        raise UserError(f"command line: {text}; --help shows the flags, configs/common.py the keys") from None
    if rest or values.config is None:
        reason = f"unexpected {rest[0]!r}; flags are written --name=value" if rest else "--config=FILE is missing"
        raise UserError(f"command line: {reason}")
    return values
