"""Prediction from files to files: drawn pictures and one JSON."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.inference.predictor import DEFAULT_THRESHOLD, Predictor
from querypose_jax.inference.sources import is_many, list_pictures
from querypose_jax.pictures import PictureError, write_jpeg


def predict_files(
    predictor: Predictor, input: str, output: str, threshold: float = DEFAULT_THRESHOLD, progress: bool = True
) -> int:
    """Writes `output`/NAME.jpg with the poses drawn for each picture, and `output`/predictions.json.

    predictions.json is a list in the COCO results format; each person also carries `file_name` (the picture's path)
    and `image_id` counts the pictures of the input from 1. It is written last. Of several pictures, one that cannot
    be read costs a line on the terminal and is left out.

    Args:
        input: a picture, a folder of pictures or a glob.
        output: a folder, made if needed; not the one the pictures are in.
        threshold: smallest score of a reported person.
        progress: shows a bar.

    Returns:
        The number of pictures predicted.

    Raises:
        UserError: nothing to read, no picture could be read, or the output would overwrite the input.
    """
    paths, folder = list_pictures(input), Path(output)
    _check_output(folder, paths)
    names = dict(zip(map(str, paths), output_names(paths), strict=True))
    image_ids = {str(path): i for i, path in enumerate(paths, start=1)}
    failed: list[PictureError] = []

    results = []
    with tqdm(total=len(paths), unit="picture", disable=not progress) as bar:

        def skip(error: PictureError) -> None:
            failed.append(error)
            bar.write(f"skipped: {error}")
            bar.update()

        on_error = skip if is_many(input) else None
        for prediction in predictor.stream(paths, threshold, on_error):
            write_jpeg(folder / names[prediction.name], prediction.draw())
            people = prediction.to_coco(image_ids[prediction.name])
            results += [{"file_name": prediction.name} | person for person in people]
            bar.update()

    if len(failed) == len(paths):
        raise UserError(f"{input}: none of the {len(paths)} pictures could be read")
    write_json(folder / "predictions.json", results)
    return len(paths) - len(failed)


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
    if folder.resolve() in {path.resolve().parent for path in paths}:
        raise UserError(f"{folder}: the pictures are in this folder; name another one for the output")
