"""Which machine and which versions, and the two ceilings: the speed of large products and of a large copy."""

import importlib.metadata
import platform
import subprocess

import jax
import jax.numpy as jnp

from querypose_jax.bench.gpu.measure import Job, compile_all, time_by_turns
from querypose_jax.bench.gpu.sheet import Sheet

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch", "torchvision", "triton")
SIDE, COPIED = 8192, 2**30  # of the products; bytes of the copy


def ceilings(sheet: Sheet) -> None:
    """Random numbers, not zeros: chips run faster on those."""
    device = jax.devices()[0]
    sheet.write(
        device=device.device_kind,
        platform=device.platform,
        python=platform.python_version(),
        versions={name: version(name) for name in PACKAGES},
        driver=driver(),
    )
    side = 256 if sheet.sizes.is_tiny else SIDE
    copied = 2**20 if sheet.sizes.is_tiny else COPIED
    key = jax.random.key(0)
    square, block = jax.random.normal(key, (side, side)), jax.random.normal(key, (copied // 4,))
    jobs = {
        "bfloat16 product": Job(jnp.matmul, (square.astype(jnp.bfloat16),) * 2),
        "float32 product (TF32)": Job(jnp.matmul, (square, square)),
        "copy": Job(lambda x: x + 1, (block,)),
    }
    with sheet.alone():
        runs, _ = compile_all(sheet, jobs)
        times = time_by_turns(sheet, runs)
    for name, key_name in (("bfloat16 product", "bfloat16_flops"), ("float32 product (TF32)", "float32_flops")):
        if name in times:
            sheet.write(what=name, **{key_name: 2.0 * side**3 / times[name].median})
    if "copy" in times:
        sheet.write(what="copy, bytes read and written", bytes_per_s=2.0 * copied / times["copy"].median)


def version(name: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def driver() -> str | None:
    """What the driver says of the GPU; None without one."""
    fields = "name,driver_version,memory.total,clocks.sm,clocks.max.sm"
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
