"""The way of one process to its first poses, in seconds by phase, as a line of JSON.

    python -m querypose_jax.bench.first_pose RUN PICTURE STARTED

STARTED is the time at which the process was asked for, so that the interpreter's own start counts. The second picture,
which is the same, tells how long the program runs once it is there; what the first one takes beyond that and the
compiler's time is tracing, lowering and whatever happens once.
"""

import itertools
import json
import sys
import time

COMPILED = "/jax/core/compile/backend_compile_duration"  # reading a kept program back counts too


def main(run: str, picture: str, started: float) -> dict[str, float]:
    """Seconds of each phase; they add up to the time from `started` to the first poses."""
    import jax

    from querypose_jax import Predictor
    from querypose_jax.devices.process import prepare_process

    prepare_process()
    compiler: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **about: compiler.append(seconds) if event == COMPILED else None
    )
    marks = [started, time.time()]
    predictor = Predictor.from_checkpoint(run)
    marks.append(time.time())
    before = sum(compiler)
    for _ in range(2):
        predictor([picture])
        marks.append(time.time())
    imports, restore, first, second = (b - a for a, b in itertools.pairwise(marks))
    compiling = sum(compiler) - before
    return {
        "imports": imports,
        "restore": restore,
        "trace, lower": first - second - compiling,
        "compile": compiling,
        "run": second,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
