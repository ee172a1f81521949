"""All processes of a run must mean the same run: they compare what they were given before the first step."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

import querypose_jax
from querypose_jax.configuration.flat import MAY_CHANGE, flat
from querypose_jax.errors import UserError

CODE = ("querypose_jax", "kernels")  # packages whose text makes the computation


def check_agreement(config: ConfigDict, fingerprint: str, newest: int | None) -> None:
    """Compares configuration, data, code and newest checkpoint over all processes; alone it has nothing to do.

    Args:
        config: of this process; where and how it reads data may differ (flat.MAY_CHANGE).
        fingerprint: of its data.
        newest: step of the newest checkpoint it sees; differs where the workdir is not on a shared disk.

    Raises:
        UserError: in every process alike, naming what differs and in which processes.
    """
    if jax.process_count() == 1:
        return
    values = {key: value for key, value in flat(config).items() if key not in MAY_CHANGE}
    facts = {
        "the configuration": json.dumps(values, sort_keys=True),
        "the data (fingerprint)": fingerprint,
        "the code": code_version(),
        "the version of jax": jax.__version__,
        "the newest checkpoint (is the workdir on a shared disk?)": str(newest),
    }
    compare(facts)


def compare(facts: dict[str, str]) -> None:
    """Raises UserError, in every process alike, unless all processes bring the same facts."""
    digests = [np.frombuffer(hashlib.sha256(fact.encode()).digest(), np.uint8) for fact in facts.values()]
    seen = np.asarray(multihost_utils.process_allgather(np.stack(digests)))  # processes, facts, 32
    problems = []
    for number, name in enumerate(facts):
        others = [process for process in range(len(seen)) if (seen[process, number] != seen[0, number]).any()]
        if others:
            which = ", ".join(map(str, others[:5])) + (" and more" if len(others) > 5 else "")
            problems.append(f"{name} of process {which} is not that of process 0")
    if problems:
        raise UserError(
            f"the processes of this run do not agree: {'; '.join(problems)}; start all with the same command, code, "
            "data and workdir"
        )


def code_version() -> str:
    """The version, and twelve digits that change with every change of the code."""
    house = Path(querypose_jax.__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for package in CODE for path in (house / package).rglob("*.py")):
        digest.update(str(path.relative_to(house)).encode() + path.read_bytes())
    return f"{querypose_jax.__version__}-{digest.hexdigest()[:12]}"
