"""What --config=tests/weights/simplepose_config.py gives a command: the SimplePose of the small manifest."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from tests.parity.simplepose import experiment

MANIFEST = Path(__file__).parent.parent / "parity" / "golden" / "sp_manifest_tiny.json"


def get_config() -> ConfigDict:
    return experiment(json.loads(MANIFEST.read_text())["config"], "float32")
