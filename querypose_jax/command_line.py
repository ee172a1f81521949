"""What all commands share: flags with a config, bad input as one line on stderr and an exit code."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from querypose_jax.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"


def run(
    command: Callable[[flags.FlagValues], int | None],
    description: str,
    define: Callable[..., None],
    argv: Sequence[str] | None = None,
    default_config: str | None = None,
    needs_config: bool = True,
) -> int:
    """Parses a command line, runs a command and returns its exit code; 2 (or the error's own) for bad input.

    Args:
        command: from the parsed flags to an exit code, None for 0.
        description: what --help prints.
        define: defines the command's own flags on the flag_values it is given; --config is added.
        argv: program and arguments; None: those of this process.
        default_config: file that stands for a missing --config; None: --config must be given.
        needs_config: False: --config may be left out, its value is None then.
    """
    argv = sys.argv if argv is None else list(argv)
    print_anything()
    if "--help" in argv or "-h" in argv:
        print(description)
        return 0
    try:
        return command(parse_flags(argv, define, default_config, needs_config)) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def print_anything() -> None:
    """What a terminal has no letters for (an ä where it knows ASCII) is printed as \\xe4 and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parse_flags(
    argv: Sequence[str], define: Callable[..., None], default_config: str | None, needs_config: bool = True
) -> flags.FlagValues:
    """The command line as values; raises UserError for an unknown flag, config key or file."""
    values = flags.FlagValues()
    for path in (argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")):
        if not Path(path.split(":")[0]).is_file():  # what follows the colon names a variant
            raise UserError(f"command line: {path}: no such config file; those of the library are in {CONFIGS}")
    try:
        define(flag_values=values)
        config_flags.DEFINE_config_file(
            "config", default_config, "python file", sys_argv=list(argv), flag_values=values
        )
        rest = values(list(argv))[1:]
    except Exception as error:  # flags and config files fail in many ways; all are the user's
        raise UserError(
            f"command line: {one_line(error)}; --help shows the flags, configs/common.py the keys"
        ) from None
    if rest:
        raise UserError(f"command line: unexpected {' '.join(rest)!r}; flags are written --name=value")
    if needs_config and values.config is None:
        raise UserError("command line: --config=FILE is missing")
    return values


def one_line(error: Exception) -> str:
    """The message of an error without line breaks; an unknown config key is called that."""
    text = str(error)
    if "Traceback" in text:  # from inside a config file: what it raised is in the last line
        text = text.strip().splitlines()[-1].split(": ", 1)[-1]
        if "get_config() takes 0 positional arguments" in text:
            text = "this config file has no variants; leave out what follows the colon"
    text = " ".join(text.replace("\\n", " ").split())
    text = re.sub(r"invalid literal for int\(\) with base 10: ('.*?')", r"\1 is not a whole number", text)
    text = re.sub(r"could not convert string to float: ('.*?')", r"\1 is not a number", text)
    if isinstance(error, KeyError | AttributeError):
        text = re.sub(r"( Did you mean \S+) instead of .*", r"\1", text)
        return "unknown config key " + re.sub(r"[\\'\"]", "", text).replace(" Did you", ", did you").rstrip("?")
    return text.rstrip(".") or type(error).__name__
