"""Evaluates a published file of weights and prints its AP beside the published one.

    python scripts/check_weights.py FILE --data=/path/to/coco [--config.eval.max_pictures=500] ...

FILE is what --weights takes: a path, an address or a name of docs/models.md. It is imported (once, into the user's
cache) and evaluated as its configuration says, pictures at their exact sizes; further arguments go to the evaluation.
The results stay in the folder of the import, so that predict takes the threshold that is best on these data and says
on how many people: a few hundred pictures (eval.max_pictures) give a rough one. Needs the
data set (docs/data.md) and `pip install '.[train]'`.
"""

import argparse
import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import launch  # noqa: E402
from querypose_jax.checkpoints.checkpoint import find_step  # noqa: E402
from querypose_jax.checkpoints.origin import in_words, read_origin  # noqa: E402
from querypose_jax.checkpoints.results import read_results  # noqa: E402
from querypose_jax.devices.process import keep_programs, prepare_process  # noqa: E402
from querypose_jax.errors import UserError  # noqa: E402
from querypose_jax.models.registry import get_family, names  # noqa: E402
from querypose_jax.weights.cache import imported  # noqa: E402
from querypose_jax.weights.download import local_file  # noqa: E402


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--data", required=True, help="root of the data set")
    parser.add_argument("--sha256", default="", help="of a file that is downloaded")
    given, rest = parser.parse_known_args(argv)
    try:
        folder, lines = imported(local_file(given.file, given.sha256))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    evaluation = [
        "--mode=eval",
        f"--workdir={folder}",
        f"--config.data.root={given.data}",
        "--config.eval.canvas=exact",
    ]
    if code := launch.main(["launch.py", *evaluation, *rest]):
        return code
    origin = read_origin(folder) or {}
    print(in_words(origin, "weights"))
    print(comparison(read_results(folder, find_step(folder)), published_paragraph(origin.get("name", ""))))
    return 0


def published_paragraph(name: str) -> str:
    """What the configuration of a published checkpoint says about published numbers; "" for another name."""
    for family in names():
        weights = get_family(family).weights
        for released in weights.released if weights else ():
            if released.name == name:
                module = released.config.split(":")[0].removesuffix(".py").replace("/", ".")
                paragraphs = (import_module(f"configs.{module}").__doc__ or "").split("\n\n")
                return next((" ".join(p.split()) for p in paragraphs if re.match("Published", p.strip())), "")
    return ""


def comparison(metrics: dict[str, float], published: str) -> str:
    """Both numbers, one below the other; a dash where nobody of a size is on the pictures, for which COCO says -1."""
    found = {name.rpartition("/")[2]: x for name, x in metrics.items() if is_keypoint(name)}
    shown = ", ".join(f"{name} {100 * x:.1f}" if x >= 0 else f"{name} -" for name, x in found.items())
    return f"Here: {shown}\n{published or 'Published: nothing is known of this file'}"


def is_keypoint(name: str) -> bool:
    """True for a metric that published AP compares with."""
    return bool(re.fullmatch(r"keypoint(_released_rescore)?/AP\w*", name))


if __name__ == "__main__":
    prepare_process()
    keep_programs()
    sys.exit(main(sys.argv[1:]))
