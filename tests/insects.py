"""Draws the data of configs/custom_example.py: python -m tests.insects FOLDER [PICTURES]

FOLDER gets pictures/*.jpg and annotations/{train,val}.json in COCO's form: beetles (broad, dark) and ants (three thin
segments, red) seen from above, heads up to 60 degrees off upright, over noise. Annotations lack area, iscrowd and
num_keypoints, as those of many tools do, and ids count from 0.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HEIGHT, WIDTH = 160, 192
JOINTS = np.array(  # x, y of a beetle of length 1 whose head is up, in the order of the names of the example
    [(0, -0.4), (0, 0), (0, 0.4), (-0.35, -0.15), (0.35, -0.15), (-0.35, 0.35), (0.35, 0.35),
     (-0.15, -0.55), (0.15, -0.55)]
)  # fmt: skip
CATEGORIES = ((7, "ant"), (3, "beetle"))  # ids as they may come: neither from 1 on nor in the order of the labels
LIMBS = ((0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (0, 7), (0, 8))


def write_insects(root: Path, train: int, val: int) -> None:
    """Draws `train` + `val` pictures and writes both annotation files."""
    (root / "annotations").mkdir(parents=True)
    (root / "pictures").mkdir()
    for split, first, count in (("train", 0, train), ("val", train, val)):
        images, annotations = [], []
        for image_id in range(first, first + count):
            picture, insects = draw_insects(np.random.default_rng(image_id))
            name = f"{image_id:05d}.jpg"
            picture.save(root / "pictures" / name, quality=92)
            images.append(dict(id=image_id, file_name=name, height=HEIGHT, width=WIDTH))
            annotations += [
                insect | dict(id=len(annotations) + i, image_id=image_id) for i, insect in enumerate(insects)
            ]
        categories = [dict(id=category, name=name) for category, name in CATEGORIES]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))


def draw_insects(rng: np.random.Generator) -> tuple[Image.Image, list[dict]]:
    """One picture with one or two insects, side by side, and their annotations without ids."""
    picture = Image.fromarray(rng.integers(150, 230, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)).resize((WIDTH, HEIGHT))
    brush, count = ImageDraw.Draw(picture), int(rng.integers(1, 3))
    insects = []
    for place in range(count):
        category, name = CATEGORIES[rng.integers(len(CATEGORIES))]
        length, angle = rng.uniform(60, 90), rng.uniform(-1, 1)
        centre = np.array([WIDTH * (place + 0.5) / count, HEIGHT / 2]) + rng.uniform(-12, 12, 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        joints = centre + length * (JOINTS * ((1, 1) if name == "beetle" else (0.7, 1))) @ turn
        draw_insect(brush, joints, length, name)
        low, high = joints.min(0) - 4, joints.max(0) + 4
        keypoints = np.concatenate([joints - 0.5, np.full((len(joints), 1), 2)], -1)
        insects.append(
            dict(category_id=category, bbox=[*low, *(high - low)], keypoints=keypoints.round(2).ravel().tolist())
        )
    return picture, insects


def draw_insect(brush: ImageDraw.ImageDraw, joints: np.ndarray, length: float, name: str) -> None:
    body, width, sizes = (
        ((40, 30, 60), 5, (0.11, 0.2, 0.16)) if name == "beetle" else ((190, 40, 30), 3, (0.1, 0.07, 0.12))
    )
    for a, b in LIMBS:
        brush.line([tuple(joints[a]), tuple(joints[b])], fill=body, width=width)
    for (x, y), size in zip(joints[:3], sizes, strict=True):
        r = size * length
        brush.ellipse((x - r, y - r, x + r, y + r), fill=body)


if __name__ == "__main__":
    pictures = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    others = max(pictures // 10, 1)
    write_insects(Path(sys.argv[1]), train=pictures, val=others)
    print(f"{pictures} training pictures and {others} others, with their annotations, are in {sys.argv[1]}")
