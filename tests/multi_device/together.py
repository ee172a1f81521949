"""Processes of one run on this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
PATIENCE_S = 600


def run_together(
    arguments: Callable[[int, int], list[str]],
    processes: int,
    devices: int,
    flags: str = "",
    patience_s: float = PATIENCE_S,
) -> str:
    """Runs python with `arguments(port, process id)` once per process; all must succeed.

    Args:
        arguments: the port is free; it is for the coordinator.
        processes: how many.
        devices: of all of them together.
        flags: XLA_FLAGS.
        patience_s: until they must have ended; then they are killed, and subprocess.TimeoutExpired is raised.

    Returns:
        What process 0 printed.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices // processes)}
    environment["XLA_FLAGS"] = flags
    started = [
        subprocess.Popen(
            [sys.executable, *arguments(port, i)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=patience_s) for process in started]
    finally:
        for process in started:
            process.kill()  # one that has ended hears nothing
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
    return outputs[0][0]
