"""Help and mistakes are answered before anything heavy is imported and before a device starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "tensorflow_datasets", "orbax", "pycocotools", "scipy.optimize", "av", "wandb")
TIMES = 3  # the processor time of importing flax alone; about 1.4 where nothing else runs

REPORT = f"""
import json, resource, sys
sys.path.insert(0, {str(ROOT)!r})
import launch
code = launch.main(["launch.py", *sys.argv[1:]])
from jax._src import xla_bridge
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps(dict(
    code=code, seconds=used.ru_utime + used.ru_stime, devices=list(xla_bridge._backends),
    heavy=[name for name in {HEAVY!r} if name in sys.modules],
)))
"""

FLAX = """
import resource
import flax.nnx
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


@pytest.fixture(scope="module")
def seconds_of_flax() -> float:
    return float(subprocess.run([sys.executable, "-c", FLAX], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--config.train.num_stepz=3"], 2),
        (["--config.model.heads=0"], 2),
        (["--mode=predict"], 2),
    ],
)
def test_the_answer_comes_within_seconds_without_heavy_imports_or_devices(arguments, code, seconds_of_flax, tmp_path):
    command = [sys.executable, "-c", REPORT, f"--workdir={tmp_path / 'run'}", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == code
    assert told["heavy"] == []
    assert told["devices"] == []
    assert told["seconds"] < TIMES * seconds_of_flax


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_has_no_letters_for_ends_no_command(encoding):
    code = (
        "import sys; from querypose_jax import command_line\n"
        "def command(_):\n"
        "    print('bäume → 猫.jpg')\n"
        "    raise command_line.UserError('猫.jpg: no such file')\n"
        "sys.exit(command_line.run(command, '', lambda **_: None, ['it'], needs_config=False))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout.endswith(b"ume \\u2192 \\u732b.jpg\n")
    assert done.stderr == b"error: \\u732b.jpg: no such file\n"
