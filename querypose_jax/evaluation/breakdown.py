"""Which joints, which sizes and which classes an average precision comes from.

Every annotated person is paired with the best detection that is left, as the protocol does at OKS 0.5. Of the pairs,
joint by joint and by the size of the person: how similar the labelled joints are, on the scale of OKS (1 = on the spot;
off by one sigma of the joint 0.88, by two 0.61, by three 0.32). Of all people: how many were found at all.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from querypose_jax.evaluation.coco import accumulate, get_scorer, keypoint_metrics, prepare
from querypose_jax.files import write_json
from querypose_jax.skeletons import Skeleton

NAME = "breakdown.json"
FOUND = 0.5  # OKS from which a person counts as found
SIZES = {"all": (0, np.inf), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # area, pixels


def breakdown(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton) -> dict[str, Any]:
    """Numbers by joint, size and class, all able to be written as JSON.

    Args:
        ground_truth: COCO annotations with the areas that count (CrowdPose: `with_box_area`).
        results: COCO results of the same pictures.
        skeleton: the joints of both.

    Returns:
        "people": size -> {"labelled", "found"} (counts); "joints": joint -> size -> {"similarity" (mean, -1 where there
        is none), "joints" (count)}; "classes": name -> keypoint AP, where there are several.
    """
    pairs = list(found_people(ground_truth, results, skeleton))
    countable = [a for a in ground_truth["annotations"] if not a["iscrowd"] and a["num_keypoints"]]
    people: dict[str, dict] = {}
    joints: dict[str, dict] = {name: {} for name in skeleton.names}
    area_of_pair = np.array([person["area"] for person, _ in pairs])
    similar = np.array([similarities(*pair, skeleton) for pair in pairs]).reshape(-1, skeleton.num_keypoints)
    for size, (low, high) in SIZES.items():
        of_size = (area_of_pair >= low) & (area_of_pair < high)
        labelled = sum(low <= person["area"] < high for person in countable)
        people[size] = {"labelled": labelled, "found": int(of_size.sum())}
        for name, values in zip(skeleton.names, similar[of_size].T, strict=True):
            seen = values[~np.isnan(values)]
            mean = round(float(seen.mean()), 4) if len(seen) else -1.0
            joints[name][size] = {"similarity": mean, "joints": len(seen)}
    return {"oks": FOUND, "people": people, "joints": joints, "classes": by_class(ground_truth, results, skeleton)}


def found_people(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton):
    """(annotation, result) of every countable person that was found."""
    evaluation = prepare(ground_truth, results, "keypoints", np.array(skeleton.sigmas), get_scorer())
    evaluation.params.iouThrs = np.array([FOUND])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    accumulate(evaluation)
    for image in evaluation.evalImgs:
        if image is not None:
            countable = {g for g, is_ignored in zip(image["gtIds"], image["gtIgnore"], strict=True) if not is_ignored}
            for result, person in zip(image["dtIds"], image["dtMatches"][0], strict=True):
                if person in countable:
                    yield evaluation.cocoGt.anns[int(person)], evaluation.cocoDt.anns[int(result)]


def similarities(person: dict, result: dict, skeleton: Skeleton) -> np.ndarray:
    """float [K]: exp(-d^2 / (2 area (2 sigma)^2)) of each labelled joint, the terms of OKS; NaN of others."""
    truth, found = (np.array(entry["keypoints"], float).reshape(-1, 3) for entry in (person, result))
    squared = np.square(truth[:, :2] - found[:, :2]).sum(-1)
    scale = 2 * np.square(2 * np.array(skeleton.sigmas)) * (person["area"] + np.spacing(1))
    return np.where(truth[:, 2] > 0, np.exp(-squared / scale), np.nan)


def by_class(ground_truth: dict, results: Sequence[dict], skeleton: Skeleton) -> dict[str, float]:
    """Keypoint AP of each class; nothing where there is only one."""
    if len(ground_truth["categories"]) < 2:
        return {}
    return {
        category["name"]: keypoint_metrics(
            {**ground_truth, "categories": [category], "annotations": of(ground_truth["annotations"], category)},
            of(results, category),
            skeleton,
        )["keypoint/AP"]
        for category in ground_truth["categories"]
    }


def of(people: Sequence[dict], category: dict) -> list[dict]:
    """Annotations or results of one class."""
    return [person for person in people if person["category_id"] == category["id"]]


def write_breakdown(folder: Path, numbers: dict[str, Any]) -> None:
    """Writes FOLDER/breakdown.json."""
    write_json(folder / NAME, numbers, indent=2)


def read_breakdown(folder: Path) -> dict[str, Any] | None:
    """What FOLDER/breakdown.json holds; None where there is none."""
    path = folder / NAME
    return json.loads(path.read_text()) if path.exists() else None


def breakdown_table(numbers: dict[str, Any]) -> str:
    """Text for a terminal: people found by size, similarity of their joints in percent, AP by class."""
    width = max(len(name) for name in (*numbers["joints"], "people found"))
    lines = [" " * width + "".join(f"{size:>16}" for size in SIZES)]
    counts = (f"{p['found']} of {p['labelled']}" for p in numbers["people"].values())
    lines.append(f"{'people found':<{width}}" + "".join(f"{cell:>16}" for cell in counts))
    for name, sizes in numbers["joints"].items():
        cells = ("-" if s["joints"] == 0 else f"{100 * s['similarity']:.1f} ({s['joints']})" for s in sizes.values())
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells))
    lines += [f"keypoint AP of {name}: {100 * value:.1f}" for name, value in numbers["classes"].items()]
    return "\n".join(lines)
