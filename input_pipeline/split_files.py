"""Where a split is on disk and how its annotation files are read: what data sets in COCO form differ in."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from input_pipeline import schema
from input_pipeline.annotations import Annotations
from input_pipeline.coco_file import Content, Problem, find_problems, index_of_content, prepared_content, read_json
from input_pipeline.skipping import NO_NUMBERS, Skipped, may_skip, refuse_too_much
from querypose_jax.errors import UserError
from querypose_jax.skeletons import Skeleton

SHOWN = 2  # annotation files that a message names


class SplitFiles(NamedTuple):
    """The files of one split, made by `split_files(data, split, skeleton)` of coco.py, crowdpose.py, custom.py and
    yolo.py."""

    split: str
    annotations: tuple[Path, ...]
    """Files in COCO form; several are read as one. With `lists`, whatever it reads."""
    pictures: Path
    """Folder that file names of the annotation files are relative to."""
    skeleton: Skeleton
    categories: tuple[str, ...] = ()
    """Names of the classes in the order of the labels, others are left out; (): all of the file, by id."""
    may_lack: tuple[str, ...] = ()
    """Keys of annotations that are worked out where the file lacks them, see coco_file.DEFAULTS."""
    is_labelled: bool = True
    """False where the file lists pictures only, to be predicted."""
    judges_polygons: bool = True
    """Polygons of fewer than three points are noted, which the released rule for COCO drops; False: nobody looks."""
    lists: Callable[[], dict] | None = None
    """Reads `annotations` of another form as the lists of a file in COCO form."""
    key: str = ""
    """What tells data of another form apart besides the bytes of `annotations`."""

    @property
    def shown(self) -> str:
        """The annotation files, for messages."""
        names = [str(path) for path in self.annotations[:SHOWN]]
        more = len(self.annotations) - len(names)
        return " + ".join(names) + (f" + {more} more" if more else "")


def check_split(split: str, known: Iterable[str]) -> None:
    """Raises UserError for a split that a data set does not have."""
    if split not in known:
        raise UserError(f"{split!r} is no split of a data set; known: {', '.join(known)}")


def existing_file(candidates: Iterable[Path], how_to_get: str) -> Path:
    """The first of some places where there is a file; raises UserError with all of them where there is none."""
    candidates = tuple(candidates)
    for path in candidates:
        if path.is_file():
            return path
    others = f" (nor {', '.join(map(str, candidates[1:]))})" if candidates[1:] else ""
    raise UserError(f"{candidates[0]}: no such file{others}. {how_to_get}")


def existing_folder(path: Path, how_to_get: str) -> Path:
    """The path; raises UserError where there is no folder."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder. {how_to_get}")
    return path


def read_content(files: SplitFiles) -> Content:
    """The lists of all annotation files of a split together, with what they may lack filled in.

    Raises:
        UserError: no JSON, no file in COCO form, classes that are none, or a category that does not exist.
    """
    how = files.skeleton, files.categories, files.may_lack
    if files.lists is not None:
        return prepared_content(files.lists(), files.annotations[0], files.pictures, *how)
    contents = [read_json(path, files.is_labelled) for path in files.annotations]
    for path, content in zip(files.annotations, contents, strict=True):
        if content.get("categories") != contents[0].get("categories"):
            raise UserError(f"{path}: has other 'categories' than {files.annotations[0]}; both are read as one")
    joined = contents[0] | {key: [e for c in contents for e in c[key]] for key in ("images", "annotations")}
    return prepared_content(joined, files.annotations[0], files.pictures, *how)


def read_split(files: SplitFiles) -> Annotations:
    """The index of the records of a split; see `usable_split`."""
    content = read_content(files)
    return usable_split(files, content, find_problems(content.lists, files.skeleton))[0]


def usable_split(files: SplitFiles, content: Content, problems: Iterable[Problem]) -> tuple[Annotations, list[Skipped]]:
    """The index of the records of a split, and the annotations that training does without.

    Args:
        files: of the split.
        content: from `read_content`.
        problems: from `find_problems`.

    Raises:
        UserError: an entry that cannot be used, more of those to do without than skipping.LARGEST_SHARE, no pictures.
    """
    shown = files.shown
    places, skipped = set(), []
    for problem in problems:
        message = f"{shown}: {problem.message}"
        if not (problem.is_number and may_skip(files.split)):
            raise UserError(f"{message}; input_pipeline.check lists all such entries")
        places.add(problem.place)
        skipped.append(Skipped(NO_NUMBERS, message))
    refuse_too_much(skipped, len(content.lists["annotations"]), "annotations")
    for reason in content.refused:
        raise UserError(f"{shown}: {reason}")
    if not content.lists["images"]:
        raise UserError(f"{shown}: lists no pictures, the split {files.split!r} is empty; name another file")
    kept = [e for place, e in enumerate(content.lists["annotations"]) if place not in places]
    lists = content.lists | {"annotations": kept}
    return index_of_content(lists, files.skeleton, files.categories, files.judges_polygons), skipped


def data_key(files: SplitFiles) -> str:
    """Changes with any byte of the annotation files, and with the format of what is prepared from them."""
    digest = hashlib.sha256()
    for path in files.annotations:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    read_as = (files.split, files.skeleton.names, files.categories, files.may_lack, files.judges_polygons)
    digest.update(repr((read_as, schema.FORMAT_VERSION)).encode())
    digest.update(files.key.encode())
    return digest.hexdigest()[:12]
