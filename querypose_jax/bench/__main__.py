"""Measures this machine and prints one table.

    python -m querypose_jax.bench TABLE --config=configs/X.py [--rounds=5] [--config.a.b=value]

input      pictures/s of the data pipeline against decoding and resizing alone
inference  all queries, a fixed number, exact pruning; beside the PyTorch peer   [--pictures --canvas --workdir --peers]
train      one training step beside the peer's                       [--pictures --people --canvas --peers]
roi_align  every path forward and backward, beside the peer's                    [--pictures --canvas]
deformable_attention   the same of it, in an encoder and in a decoder            [--pictures --canvas --peers]
decode     from maps to people, 1, 10 and 50 of them, beside the peer's grouping           [--canvas]
matching   scipy in a callback and the solver on the device, beside scipy alone
compile    seconds to trace, lower and compile; memory of temporaries            [--pictures --people --canvas]
start      from nothing to the first poses, cold and warm, by phase                          [--canvas --workdir]

The peer runs where QUERYPOSE_PEER names its folder and torch is installed; --peers=eager:float32,compile:bfloat16 runs
it in several ways, each with a column of ratios.
"""

import importlib
import re
import sys

from absl import flags
from ml_collections import ConfigDict

from querypose_jax import command_line
from querypose_jax.bench.options import Options, PeerWay
from querypose_jax.devices.process import prepare_process
from querypose_jax.errors import UserError

TABLES = ("input", "inference", "train", "roi_align", "deformable_attention", "decode", "matching", "compile", "start")


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_integer("rounds", 5, "how often the candidates take turns", lower_bound=1, **values)
    flags.DEFINE_integer("pictures", 1, "pictures of a batch", lower_bound=1, **values)
    flags.DEFINE_integer("people", 4, "people on each picture", lower_bound=1, **values)
    flags.DEFINE_string("canvas", "800x1088", "HEIGHTxWIDTH of the pictures, multiples of 32", **values)
    flags.DEFINE_string("workdir", None, "inference, start: run whose weights are used", **values)
    peers = "inference, train: eager|compile:float32|bfloat16, ...; default: eager, in the model's precision"
    flags.DEFINE_list("peers", [], peers, **values)


def main(argv: list[str]) -> int:
    """Runs one benchmark; returns the exit code."""
    name = argv[1] if len(argv) > 1 else ""

    def run(given: flags.FlagValues) -> None:
        if name not in TABLES:
            raise UserError(f"command line: {name!r} is no benchmark; known: {', '.join(TABLES)}")
        options = Options(
            given.rounds,
            given.workdir,
            canvas_of(given.canvas),
            given.pictures,
            given.people,
            tuple(peer_way(text) for text in given.peers),
        )
        print(run_table(name, given.config, options))

    return command_line.run(run, __doc__, define_flags, [argv[0], *argv[2:]])


def run_table(name: str, config: ConfigDict, options: Options) -> str:
    """Measures one of TABLES; returns it."""
    return importlib.import_module(f"querypose_jax.bench.{name}").run(config, options)


def canvas_of(text: str) -> tuple[int, int]:
    """(800, 1088) of "800x1088"; UserError for anything else."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) % 32 or not int(side) for side in match.groups()):
        raise UserError(f"command line: --canvas={text} is not HEIGHTxWIDTH in multiples of 32, say 800x1088")
    return int(match[1]), int(match[2])


def peer_way(text: str) -> PeerWay:
    """How "compile:bfloat16" runs the peer; UserError for anything else."""
    match = re.fullmatch(r"(eager|compile):(float32|bfloat16)", text)
    if not match:
        raise UserError(
            f"command line: --peers={text} is no way to run the peer, say eager:float32 or compile:bfloat16"
        )
    return PeerWay(match[1] == "compile", match[2])


if __name__ == "__main__":
    prepare_process()
    sys.exit(main(sys.argv))
