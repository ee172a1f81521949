"""Insects of one kind, beetles and ants alike, for the small SimplePose of configs/simplepose/synthetic_tiny.py.

python -m tests.simplepose_insects FOLDER [PICTURES] draws them.
"""

import sys
from pathlib import Path

from configs import custom_example
from configs.simplepose import synthetic_tiny
from tests.insects import CATEGORIES, write_insects

ONE_NAME = "insect"


def get_config():
    config, example = synthetic_tiny.get_config(), custom_example.get_config()
    del config.data.synthetic, config.data.skeleton
    config.data.update(name="custom", root="data/insects", skeleton=example.data.skeleton, custom=example.data.custom)
    config.data.custom.categories = ()
    return config


def write(root: Path, train: int, val: int) -> None:
    """The insects of the example, all of one class: SimplePose tells none apart."""
    write_insects(root, train, val)
    for path in (root / "annotations").glob("*.json"):
        text = path.read_text()
        for _, name in CATEGORIES:
            text = text.replace(f'"{name}"', f'"{ONE_NAME}"')
        path.write_text(text)


if __name__ == "__main__":
    pictures = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    write(Path(sys.argv[1]), train=pictures, val=max(pictures // 10, 1))
