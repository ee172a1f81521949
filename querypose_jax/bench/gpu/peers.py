"""The PyTorch peers of a row, each in a process of its own, which warm up while ours compiles."""

import os
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any

from querypose_jax.bench.gpu.sheet import Sheet
from querypose_jax.bench.own_process import OwnProcess

WAIT_S = 40.0  # for a peer that is not ready when ours is


class Peers:
    """Starts them; `with peers:` ends them.

    Args:
        makers: name -> (function, *its arguments); the function gives `run(calls=1)`, and runs in the other process.
        missing: why there are none, or None.
    """

    def __init__(self, makers: Mapping[str, tuple], missing: str | None):
        self.missing = missing
        self.processes = {} if missing else {name: OwnProcess(on_cpu, *maker) for name, maker in makers.items()}
        for process in self.processes.values():
            process.begin(1)

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.processes.values():
            process.end()

    def ready(
        self, sheet: Sheet, case: str, names: Collection[str] = (), wait_s: float = WAIT_S
    ) -> dict[str, Callable]:
        """Those of `names` (none: all) whose first call has ended; of the others a line says why not."""
        if self.missing:
            sheet.write(case=case, what="peer", missing=self.missing)
        found: dict[str, Callable] = {}
        for name, process in self.processes.items():
            if names and name not in names:
                continue
            with sheet.guarded(f"{case}, {name}"):
                process.result(wait_s)
                found[name] = process
        return found


def on_cpu(make: Callable[..., Callable], *arguments: Any) -> Callable:
    """What is left of jax in the process of a peer keeps off the GPU, from its first array on."""
    import jax

    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")
    return make(*arguments)
