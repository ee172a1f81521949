"""The step that the released evaluation passes its results through, for comparison with published "AP *" numbers only.

The released loop hands its results to a Soft-NMS routine (Gaussian, sigma 0.5, floor 0.001) with the columns in another
order than the routine expects: it reads (score, x1, y1, x2) as the rectangle and y2 as the confidence. Scores
stay, but most boxes end with y2 < y1, so with a negative area. pycocotools ignores unmatched detections of such
an area instead of counting them as false: AP rises by about two points without any pose being better. The headline
numbers of this project never pass through here: config.eval.released_rescore (off by default) adds numbers of their own
name, keypoint_released_rescore/AP and so on, beside the headline.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

GAUSSIAN = 0.5  # sigma of the Soft-NMS
FLOOR = 0.001  # a key below it loses its row
KEY = 4  # column of y2, which the routine takes for the confidence


def released_rescore(rows: Float[np.ndarray, "n 5"]) -> tuple[Float[np.ndarray, "n 5"], list[int]]:
    """Applies the step to the people of one picture.

    Args:
        rows: score, x1, y1, x2, y2 (pixels of the original picture); not changed.

    Returns:
        The rows after the step in float32, and for each of them the input row whose joints it carries.
    """
    rows = rows.astype(np.float32)
    joints = list(range(len(rows)))
    live = len(rows)
    for i in range(len(rows)):
        if i + 1 < live:
            best = i + int(np.argmax(rows[i:live, KEY]))
            rows[[i, best]] = rows[[best, i]]
            joints[i], joints[best] = joints[best], joints[i]
        p = i + 1
        while p < live:
            iou = _overlap(rows[i], rows[p])
            if iou is not None:
                rows[p, KEY] *= np.exp(-(iou**2) / GAUSSIAN)
                if rows[p, KEY] < FLOOR:  # the last live row moves here and is looked at next
                    live -= 1
                    rows[p] = rows[live]
                    joints[p], joints[live] = joints[live], joints[p]
                    continue
            p += 1
    return rows, joints


def rescore_results(results: Sequence[dict]) -> list[dict]:
    """COCO results with the step applied picture by picture, pictures by id; the results given are not changed."""
    by_picture: dict[int, list[dict]] = {}
    for result in results:
        by_picture.setdefault(result["image_id"], []).append(result)
    return [after for image_id in sorted(by_picture) for after in _rescore_picture(by_picture[image_id])]


def _rescore_picture(people: list[dict]) -> list[dict]:
    x, y, w, h = np.array([person["bbox"] for person in people], np.float64).T
    rows, joints = released_rescore(np.stack([[person["score"] for person in people], x, y, x + w, y + h], -1))
    return [
        people[j] | {"score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for j, (score, x1, y1, x2, y2) in zip(joints, rows.tolist(), strict=True)
    ]


def _overlap(first: Float[np.ndarray, " 5"], second: Float[np.ndarray, " 5"]) -> np.float32 | None:
    """IoU of two rectangles in the routine's reading (columns 0..3, pixels counted inclusively); None if apart."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    if width <= 0 or height <= 0:
        return None
    areas = [(r[2] - r[0] + 1) * (r[3] - r[1] + 1) for r in (first, second)]
    return width * height / (sum(areas) - width * height)
