"""The people of a film, a line of JSON per frame: written as they are found, read again after an interruption."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from querypose_jax.files import whole_file
from querypose_jax.inference.prediction import Prediction
from querypose_jax.inference.progress import JSON, is_of, parsed
from querypose_jax.inference.unfinished import part_of
from querypose_jax.inference.video import Frame
from querypose_jax.skeletons import Skeleton

FOR_DRAWING = "spread"  # what the lines of an unfinished film hold beside what those of a finished one do


class FilmLines:
    """NAME.part.jsonl while a film is under way, NAME.jsonl at the end.

    The first line of the former says of what command it is. Each line is on disk when `add` returns; one that was cut
    off (the machine failed while it was written) counts as not there. Memory holds a line, not a film.
    """

    def __init__(self, path: Path, command: JSON):
        """
        Args:
            path: NAME.jsonl.
            command: what decides the lines; `file` tells which film, see `file_state`.
        """
        self.path, self.part, self.command = path, part_of(path), command
        self.count = 0
        """Lines that are written, or read from an earlier start."""
        self._file: Any = None

    def earlier(self, skeleton: Skeleton) -> Iterator[Callable[[Image.Image], Prediction]]:
        """The frames that an earlier start has left, in turn: each puts its people on the picture of their frame.

        None where there was no such start, or where the film is another one by now.

        Raises:
            UserError: what lies there is of another command, or no such file.
        """
        if not self.part.is_file():
            return
        with self.part.open("r+b") as file:
            if not is_of(self.part, file.readline(), self.command, renewed_by="file"):
                return
            self._file = file
            end = file.tell()
            while (read := file.readline()).endswith(b"\n") and (line := parsed(read)):
                self.count, end = self.count + 1, file.tell()
                yield partial(_prediction, line, skeleton)
            file.truncate(end)
        self._file = self.part.open("ab")

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """The people of one frame more."""
        if self._file is None:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("wb")
            self._write({"of": self.command})
        spread = {} if prediction.spread is None else {FOR_DRAWING: np.round(prediction.spread, 3).tolist()}
        self._write(_line(frame, prediction) | spread)
        self.count += 1

    def close(self) -> None:
        """Leaves the file for the next start."""
        if self._file is not None:
            self._file.close()

    def finish(self) -> None:
        """All frames are there."""
        self.close()
        with (
            self.part.open(encoding="utf-8") as lines,
            whole_file(self.path) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            next(lines)
            for line in map(json.loads, lines):
                line.pop(FOR_DRAWING, None)
                file.write(json.dumps(line) + "\n")
        os.unlink(self.part)

    def _write(self, line: JSON) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()


def _line(frame: Frame, prediction: Prediction) -> JSON:
    people = prediction.to_coco()
    for person in people:
        del person["image_id"]
    if prediction.tracks is not None:
        for person, number in zip(people, prediction.tracks.tolist(), strict=True):
            person["track"] = number
    return {"frame": frame.number, "seconds": round(frame.seconds, 6), "people": people}


def _prediction(line: JSON, skeleton: Skeleton, picture: Image.Image) -> Prediction:
    """What `_line` was made of, as far as it is written there: `to_coco` of it gives the same numbers."""
    people, joints = line["people"], skeleton.num_keypoints
    boxes = np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4)
    keypoints = np.array([person["keypoints"] for person in people], np.float64).reshape(-1, joints, 3)
    tracks = [person["track"] for person in people if "track" in person]
    return Prediction(
        picture,
        skeleton,
        scores=np.array([person["score"] for person in people], np.float32),
        labels=np.array([person["category_id"] - 1 for person in people], np.int32),
        boxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], -1),
        keypoints=keypoints[..., :2] + 0.5,
        keypoint_scores=keypoints[..., 2],
        spread=np.array(line[FOR_DRAWING]).reshape(-1, joints, 2) if FOR_DRAWING in line else None,
        tracks=np.array(tracks, int) if tracks else None,
    )
