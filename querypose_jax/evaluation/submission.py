"""Predictions of pictures whose annotations only a server has, in the file that the COCO server takes.

https://cocodataset.org/#format-results: a zip of one JSON, person_keypoints_SPLIT2017_METHOD_results.json. Its entries
have image_id, category_id, keypoints and score. Boxes stay out: with them the server would take areas from the boxes.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from querypose_jax.files import whole_file

PEOPLE_SCORED = 20  # per picture, those with the best scores; the protocol looks at no others
KEYS = ("image_id", "category_id", "keypoints", "score")


def write_submission(detections: Sequence[dict], folder: Path, split: str, method: str) -> Path:
    """Writes the zip into a folder and returns its path.

    Args:
        detections: COCO results of all pictures, see `to_coco_results`.
        folder: made where it does not exist.
        split: "test-dev", part of the name.
        method: name of the model, part of the name.
    """
    name = f"person_keypoints_{split}2017_{method}_results"
    path = folder / f"{name}.zip"
    text = json.dumps(submitted(detections), separators=(",", ":"))
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.json", text)
    return path


def submitted(detections: Sequence[dict]) -> list[dict]:
    """The entries that are scored: per picture the best ones, in the order in which pycocotools ranks equal scores."""
    by_picture: dict[int, list[dict]] = {}
    for detection in detections:
        by_picture.setdefault(detection["image_id"], []).append(detection)
    best = [sorted(people, key=lambda d: -d["score"])[:PEOPLE_SCORED] for people in by_picture.values()]
    return [{key: detection[key] for key in KEYS} for people in best for detection in people]
