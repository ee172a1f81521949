"""Prediction from files to files: drawn pictures and one JSON."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.inference.predictor import Predictor
from querypose_jax.inference.progress import JSON, Progress, file_state
from querypose_jax.inference.sources import is_many, left_out, list_pictures
from querypose_jax.inference.threshold import checked_threshold
from querypose_jax.inference.unfinished import part_of, telling
from querypose_jax.pictures import PictureError, write_jpeg

NAME = "predictions.json"
UNFINISHED = part_of(Path(NAME)).with_suffix(".jsonl")


def predict_files(
    predictor: Predictor, input: str, output: str, threshold: float | None = None, progress: bool = True
) -> int:
    """Writes `output`/NAME.jpg with the poses drawn for each picture, and `output`/predictions.json.

    predictions.json is a list in the COCO results format; each person also carries `file_name` (the picture's path)
    and `image_id` counts the pictures of the input from 1; one that is named twice is two pictures. Until it is
    written, last, predictions.part.jsonl holds a line per finished picture (`file_name`, `people`, and what tells
    that the file is still the same); the same call goes on from there. Of several pictures, one that cannot be read
    costs a line on the terminal and is left out.

    Args:
        input: a picture, a folder of pictures, a glob or a text file with a path per line.
        output: a folder, made if needed; not the one the pictures are in.
        threshold: smallest score of a reported person; None: that of the predictor.
        progress: shows a bar.

    Returns:
        The number of pictures predicted, also by an earlier, unfinished call.

    Raises:
        UserError: nothing to read, no picture could be read, the output would overwrite the input, or holds the
            unfinished work of another command.
    """
    threshold = checked_threshold(threshold, predictor.threshold.score)
    paths, folder = list_pictures(input), Path(output)
    _check_output(folder, paths)
    command = {"input": input, "threshold": threshold, "model": predictor.fingerprint}
    progressed = Progress(folder / UNFINISHED, command)
    pictures = _Pictures(paths, folder, progressed)
    with (
        closing(progressed),
        telling(pictures.kept),
        tqdm(total=len(paths), initial=len(pictures.people), unit="picture", disable=not progress) as bar,
    ):
        if pictures.people:
            bar.write(pictures.kept())
        if os.path.isdir(input) and (others := left_out(input)):
            bar.write(others)

        def skip(error: PictureError) -> None:
            pictures.skip()
            bar.write(f"skipped: {error}")
            bar.update()

        for prediction in predictor.stream(pictures.remaining(), threshold, skip if is_many(input) else None):
            drawn, entry = pictures.next()
            write_jpeg(folder / drawn, prediction.draw())
            pictures.add(entry | {"people": prediction.to_coco()})
            bar.update()
        if not pictures.people:
            raise UserError(f"{input}: none of the {len(paths)} pictures could be read")
        write_json(folder / NAME, pictures.results())
    progressed.remove()
    return len(pictures.people)


class _Pictures:
    """The pictures of one command by their place: which are done, under way, and to come."""

    def __init__(self, paths: Sequence[Path], folder: Path, progress: Progress):
        self.paths, self.names, self.folder, self.progress = paths, output_names(paths), folder, progress
        self.waiting: deque[tuple[int, JSON]] = deque()  # read, and not predicted yet
        earlier = {_key(entry): entry["people"] for entry in progress.earlier}
        found = {i: earlier.get(_key(self._entry(i))) for i in range(len(paths))} if earlier else {}
        self.people = {i: people for i, people in found.items() if people is not None and self._is_drawn(i)}

    def remaining(self) -> Iterator[Path]:
        """The pictures that are not done, each noted as under way when it is handed out."""
        for i in [i for i in range(len(self.paths)) if i not in self.people]:
            self.waiting.append((i, self._entry(i)))
            yield self.paths[i]

    def skip(self) -> None:
        """The picture that was handed out last cannot be read."""
        self.waiting.pop()

    def next(self) -> tuple[str, JSON]:
        """The picture that was handed out first and is not done: the name of its drawing and what is noted of it."""
        place, entry = self.waiting[0]
        return self.names[place], entry

    def add(self, entry: JSON) -> None:
        """This picture is done; its line is on disk when this returns."""
        self.progress.add(entry)
        place, _ = self.waiting.popleft()
        self.people[place] = entry["people"]

    def kept(self) -> str:
        """What of the command is done, in words; "" where nothing is."""
        if not self.people:
            return ""
        done = f"{len(self.people)} of {len(self.paths)} pictures are done ({self.progress.path})"
        return f"{done}; the same command goes on with the rest"

    def results(self) -> list[JSON]:
        """COCO results of all pictures, in their order."""
        return [
            {"file_name": str(self.paths[i])} | person | {"image_id": i + 1}
            for i, people in sorted(self.people.items())
            for person in people
        ]

    def _entry(self, place: int) -> JSON:
        return file_state(self.paths[place]) | {"drawn": self.names[place]}

    def _is_drawn(self, place: int) -> bool:
        return (self.folder / self.names[place]).is_file()


def _key(entry: JSON) -> tuple:
    return tuple(entry.get(name) for name in ("file_name", "size", "changed", "drawn"))


def output_names(paths: Sequence[Path]) -> list[str]:
    """NAME.jpg for each picture, all different (also where case does not count): a.png and a.jpg become
    a.png.jpg and a.jpg.jpg, equal names from different folders a.jpg.jpg and a.jpg_2.jpg."""
    stems = [path.stem.lower() for path in paths]
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        base = path.stem if stems.count(path.stem.lower()) == 1 else path.name
        name, copy = f"{base}.jpg", 2
        while name.lower() in taken:
            name, copy = f"{base}_{copy}.jpg", copy + 1
        taken.add(name.lower())
        names.append(name)
    return names


def _check_output(folder: Path, paths: Sequence[Path]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: this is a file; name a folder for the output")
    folders = {os.path.realpath(path.parent) for path in paths}  # of links to pictures, and of the pictures
    if os.path.realpath(folder) in folders | {os.path.dirname(os.path.realpath(path)) for path in paths}:
        raise UserError(f"{folder}: the pictures are in this folder; name another one for the output")
