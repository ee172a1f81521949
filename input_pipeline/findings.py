"""What is wrong or unusual in a data set, per kind: how often, where first, and what the pipeline makes of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from input_pipeline.annotations import Annotations, count_per_picture
from input_pipeline.picture_names import files_by_last_part
from input_pipeline.skipping import LARGEST_SHARE, OTHER_SIZE, UNREADABLE, is_too_much
from querypose_jax.pictures import PictureError, open_file, orientation, read_picture
from querypose_jax.recipes.geometry import LARGEST_CROPPED_ASPECT
from querypose_jax.recipes.recipe import AREA_OF_BOX

NUM_EXAMPLES = 3
PNG_BIT_DEPTH = 24  # place of this byte in the file
DARK, DARK_DEEP = 32, 128  # of 255: nothing is as bright; 128 means that the uppermost of 16 bits is never used
SMALLEST_SIDE = 64  # pixels; smaller pictures are enlarged more than about tenfold
LARGEST_ASPECT = 3.0
FAR_OUTSIDE = 0.25  # of the box's larger side, by which a labelled joint may leave its box before it is mentioned


class Finding(NamedTuple):
    """One kind of thing worth knowing."""

    kind: str
    times: int
    examples: list[str]
    consequence: str
    """What the pipeline does about it."""
    stops: bool = False
    """True where preparation refuses the data set."""


def finding(kind: str, where: Iterable[str], consequence: str, stops: bool = False) -> Finding:
    """Counts the places and keeps the first ones."""
    places = list(where)
    return Finding(kind, len(places), places[:NUM_EXAMPLES], consequence, stops)


def find_in_annotations(
    annotations: Annotations, is_target: np.ndarray, max_people: int, keep_empty: bool = False
) -> list[Finding]:
    """Looks at every picture's and every object's numbers; kinds that do not occur are left out.

    Args:
        annotations: index of a split.
        is_target: bool [O], who is trained on.
        max_people: slots of a picture.
        keep_empty: training uses pictures without anybody.
    """
    a, owners = annotations, annotations.picture_of_object
    height, width = a.size[owners].T
    x0, y0, w, h = a.bbox.T
    joints, visibility = a.keypoints[..., :2], a.keypoints[..., 2]
    labelled = visibility > 0
    beyond = ((joints + 0.5 < 0) | (joints + 0.5 > np.stack([width, height], -1)[:, None])).any(-1)
    reach = FAR_OUTSIDE * np.maximum(w, h)[:, None, None]
    low, high = a.bbox[:, None, :2] - reach, a.bbox[:, None, :2] + a.bbox[:, None, 2:] + reach
    stray = ((joints < low) | (joints > high)).any(-1)
    is_person, targets = ~a.is_crowd, count_per_picture(a, is_target)
    people, objects_there = count_per_picture(a, is_person), np.diff(a.start)
    is_empty = (w <= 0) | (h <= 0)
    is_shape_lost = a.is_degenerate & ~is_target & ~is_empty
    is_outside = ~is_empty & ((x0 >= width) | (y0 >= height) | (x0 + w <= 0) | (y0 + h <= 0))
    leaves = (x0 < -1) | (y0 < -1) | (x0 + w > width + 1) | (y0 + h > height + 1)
    short, long = a.size.min(-1), a.size.max(-1)

    def objects(mask: np.ndarray) -> Iterator[str]:
        return (f"annotation {a.object_id[o]} of {a.file_name[owners[o]]}" for o in np.flatnonzero(mask))

    def pictures(mask: np.ndarray) -> Iterator[str]:
        return (f"{a.file_name[row]} (id {a.image_id[row]})" for row in np.flatnonzero(mask))

    used, unused = "used as it is", "not trained on; kept in evaluation"
    is_alone = np.bincount(a.label, minlength=len(a.category_names)) == 0
    found = [
        finding("crowd", objects(a.is_crowd), "not trained on; ignored in evaluation"),
        finding("polygon of fewer than three points", objects(is_person & is_shape_lost), "not trained on"),
        finding("box without width or height, or negative", objects(is_empty), "not trained on; kept in evaluation"),
        finding("box outside of the picture", objects(is_outside), "not trained on; kept in evaluation"),
        finding("box leaves the picture by more than a pixel", objects(leaves & ~is_outside), "clipped in training"),
        finding("area of zero or less", objects(a.area <= 0), f"{used}: nothing can match it in evaluation"),
        finding("area larger than the box", objects(a.area > w * h + 1), f"{used} in evaluation"),
        finding(
            "person without labelled joints",
            objects(is_person & ~labelled.any(-1)),
            "trains class and box only; ignored in keypoint evaluation",
        ),
        finding("labelled joint outside of the picture", objects((labelled & beyond).any(-1)), "loses its label"),
        finding(
            f"labelled joint outside of its box by more than {FAR_OUTSIDE:.0%} of its side",
            objects((labelled & stray & ~beyond).any(-1)),
            "stays labelled; the loss leaves joints outside of the pooled region out",
        ),
        finding("visibility other than 0, 1, 2", objects(~np.isin(visibility, (0, 1, 2)).all(-1)), "labelled if > 0"),
        finding(
            "unlabelled joint with coordinates", objects((~labelled & (joints != 0).any(-1)).any(-1)), "set to zero"
        ),
        finding(
            "num_keypoints is not the number of labelled joints",
            objects(is_person & (a.num_keypoints != labelled.sum(-1))),
            f"{used}: evaluation ignores who has 0",
        ),
        finding("same box twice on a picture", objects(_is_repeated(owners, a.bbox)), "both are used"),
        finding(f"more than {max_people} people", pictures(targets > max_people), "the largest are trained on"),
        finding(
            "nobody on the picture",
            pictures(objects_there == 0),
            "trained on as a negative; kept in evaluation" if keep_empty else unused,
        ),
        finding("only crowds on the picture", pictures((people == 0) & (objects_there > 0)), unused),
        finding("people on the picture, none of them to train on", pictures((people > 0) & (targets == 0)), unused),
        finding(
            "class without annotations",
            a.category_names[is_alone].tolist(),
            "never found; config.data.custom.categories names the classes that are wanted",
        ),
        finding(
            "annotation id 0",
            objects(a.object_id == 0),
            "used here; to pycocotools in your own hands a match with id 0 is none, so count annotations from 1",
        ),
        finding(
            "area of the box in place of the segment's, everywhere",
            objects(np.full(len(a.area), _is_area_of_box(a))),
            f"{used}: makes OKS lenient, AP higher than on COCO; leave area out and {AREA_OF_BOX} of the box is taken",
        ),
        finding(f"short side below {SMALLEST_SIDE} pixels", pictures(short < SMALLEST_SIDE), "enlarged"),
        finding(f"longer than {LARGEST_ASPECT:g} times its width", pictures(long > LARGEST_ASPECT * short), "resized"),
        finding(
            f"longer than {LARGEST_CROPPED_ASPECT} times its width",
            pictures(long > LARGEST_CROPPED_ASPECT * short),
            "never cropped in training: enlarging it first would take too much memory",
        ),
    ]
    return [f for f in found if f.times]


def _is_area_of_box(annotations: Annotations) -> bool:
    """Every annotated area is that of its box to a pixel or a hundredth; a file without areas is none."""
    a = annotations
    counted = a.has_area & ~a.is_crowd & (a.bbox[:, 2:] > 0).all(-1)
    area, of_box = a.area[counted], a.bbox[counted, 2:].prod(-1)
    return bool(len(area)) and bool((np.abs(area - of_box) <= np.maximum(1.0, 0.01 * of_box)).all())


def _is_repeated(owners: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool [O]: an earlier object of the same picture has the same box."""
    keys = np.concatenate([owners[:, None], boxes], -1)
    repeated = np.ones(len(keys), bool)
    if len(keys):
        repeated[np.unique(keys, axis=0, return_index=True)[1]] = False
    return repeated


def consequence(remedy: str, stops: bool, skips: bool) -> str:
    """What happens to things that cannot be used, in words."""
    if not stops:
        return f"left out of training and counted; {remedy} to keep it"
    return f"{remedy}; at most {LARGEST_SHARE:.0%} of a training split are left out" if skips else remedy


class PictureFacts(NamedTuple):
    """One picture file. `size` is h, w after the EXIF orientation; None where it cannot be decoded."""

    error: str
    size: tuple[int, int] | None = None
    mode: str = ""
    kind: str = ""
    is_turned: bool = False
    is_deep: bool = False
    """16 bits per pixel and channel."""
    brightest: int = 255
    """The largest of its 8-bit values."""


def inspect_picture(path: Path) -> PictureFacts:
    """Decodes a picture as the loader does and notes what is special about its file."""
    try:
        content = path.read_bytes()
        pixels = read_picture(content, name=str(path))
    except (PictureError, OSError, ValueError) as error:  # ValueError: a name that no file can have
        return PictureFacts(str(error))
    brightest = max(high for _, high in pixels.getextrema())
    with open_file(content) as picture:
        is_turned = orientation(picture) != 1
        is_deep = picture.mode.startswith("I") or (picture.format == "PNG" and content[PNG_BIT_DEPTH] == 16)
        kind = str(picture.format)
        return PictureFacts("", pixels.size[::-1], picture.mode, kind, is_turned, is_deep, brightest)


def inspect_pictures(annotations: Annotations, folder: Path, workers: int) -> list[PictureFacts]:
    """Decodes every picture of the index in `workers` threads."""
    names = annotations.file_name.tolist()
    progress = {"total": len(names), "desc": f"reading {folder.name}", "unit": " pictures", "mininterval": 1}
    with ThreadPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(lambda name: inspect_picture(folder / name), names), **progress))


def is_as_listed(annotations: Annotations, facts: Sequence[PictureFacts]) -> np.ndarray:
    """bool [P]: pictures that decode and have the size that the annotation file says."""
    sizes = [tuple(size) for size in annotations.size.tolist()]
    return np.array([f.size == size for f, size in zip(facts, sizes, strict=True)], bool)


def find_in_pictures(annotations: Annotations, folder: Path, workers: int, skips: bool = False) -> list[Finding]:
    """Decodes every picture of the index; kinds that do not occur are left out. See `find_in_facts`."""
    return find_in_facts(annotations, folder, inspect_pictures(annotations, folder, workers), skips)


def find_in_facts(
    annotations: Annotations, folder: Path, facts: Sequence[PictureFacts], skips: bool = False
) -> list[Finding]:
    """What is special about the pictures of an index.

    Args:
        annotations: index of a split.
        folder: of its pictures.
        facts: of each picture.
        skips: whether the split does without what cannot be used (see skipping.py).
    """
    names, sizes = annotations.file_name.tolist(), [tuple(size) for size in annotations.size.tolist()]
    seen = list(zip(names, facts, sizes, strict=True))
    wrong = [(n, f.size, s) for n, f, s in seen if f.size and f.size != s]
    good = [(n, f) for n, f, s in seen if f.size == s]
    others = sorted({n for there in files_by_last_part(folder).values() for n in there} - set(names))
    twice = [name for name, count in Counter(names).items() if count > 1]
    errors = [f.error for f in facts if f.error]
    stops = not skips or is_too_much(len(errors) + len(wrong), len(names))
    found = [
        finding(UNREADABLE, errors, consequence("replace the file", stops, skips), stops),
        finding(
            OTHER_SIZE,
            (f"{n}: {size[0]} x {size[1]}, not {s[0]} x {s[1]} (h x w)" for n, size, s in wrong),
            consequence("correct the annotation file", stops, skips),
            stops,
        ),
        finding(
            "16 bits of which fewer are used",
            (f"{n}: nothing above {f.brightest} of 255" for n, f in good if f.is_deep and f.brightest < DARK_DEEP),
            "the upper 8 bits are taken: dark, or nearly black; multiply the values so that they fill 16 bits",
        ),
        finding(
            "nearly black",
            (f"{n}: nothing above {f.brightest} of 255" for n, f in good if not f.is_deep and f.brightest < DARK),
            "used as it is",
        ),
        finding("EXIF orientation", (n for n, f, _ in seen if f.is_turned), "applied: the picture is turned upright"),
        finding("not RGB", (f"{n} ({f.mode})" for n, f, _ in seen if f.mode not in ("", "RGB")), "converted to RGB"),
        finding("no JPEG", (f"{n} ({f.kind})" for n, f, _ in seen if f.kind not in ("", "JPEG")), "decoded too"),
        finding("file listed twice", twice, "two pictures with the annotations of each"),
        finding("file without an entry among the pictures used", others, "not read"),
    ]
    return [f for f in found if f.times]
