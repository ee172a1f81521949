import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.evaluation.runner import evaluate
from querypose_jax.inference.batching import empty_people
from querypose_jax.skeletons import COCO
from querypose_jax.structures import FILLER_ID, Batch, Poses

K = COCO.num_keypoints
IDS = (11, 5, 8, 20)  # picture 20 has nobody
CENTRES = {5: (60.0, 50.0), 8: (90.0, 70.0), 11: (40.0, 60.0)}
SIZE = np.array([40.0, 60.0])  # of every person, original pixels


def joints(image_id: int) -> np.ndarray:
    steps = np.linspace(-0.5, 0.5, K)[:, None]
    return np.array(CENTRES.get(image_id, (30.0, 40.0))) + steps * SIZE


def truth() -> dict:
    people = []
    for image_id in CENTRES:
        xy = joints(image_id)
        box = [*xy.min(0), *np.ptp(xy, axis=0)]
        keypoints = np.concatenate([xy - 0.5, np.full((K, 1), 2.0)], -1).ravel().tolist()
        person = {"id": image_id, "image_id": image_id, "category_id": 1, "bbox": box, "area": 1500.0, "iscrowd": 0}
        people.append(person | {"num_keypoints": K, "keypoints": keypoints})
    images = [{"id": i, "height": 120, "width": 160, "file_name": f"{i}.jpg"} for i in (*IDS, 99)]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}


def batch_of(ids: tuple[int, ...]) -> Batch:
    """Pictures of 120 x 160 shown at half their size on a canvas of 64 x 96."""
    count = len(ids)
    image = np.zeros((count, 64, 96, 3), np.uint8)
    image[:, :60, :80] = 127
    return Batch(
        image=image,
        valid_size=np.tile(np.array([60, 80], np.int32), (count, 1)),
        orig_size=np.tile(np.array([120, 160], np.int32), (count, 1)),
        image_id=np.array(ids, np.int32),
        inv_affine=np.tile(np.array([[2, 0, 0], [0, 2, 0]], np.float32), (count, 1, 1)),
        **empty_people(count, 1, K),
    )


def batches() -> list[Batch]:
    return [batch_of(IDS[:2]), batch_of(IDS[2:]), batch_of((FILLER_ID, FILLER_ID))]


def perfect(batch: Batch) -> Poses:
    """One right person where there is one, a second query without confidence, a third that is not valid."""
    count = len(batch.image_id)
    xy = np.stack([joints(int(i)) for i in batch.image_id])
    boxes = np.concatenate([xy.min(1), xy.max(1)], -1)
    right = np.array([0.9 if int(i) in CENTRES else 0.01 for i in batch.image_id])
    return Poses(
        scores=np.stack([right, np.full(count, 0.02), np.full(count, 0.99)], -1),
        labels=np.zeros((count, 3), np.int32),
        valid=np.tile(np.array([True, True, False]), (count, 1)),
        boxes=np.stack([boxes, boxes + 300, boxes], 1),
        keypoints=np.stack([xy, xy + 300, xy], 1),
        keypoint_scores=np.full((count, 3, K), 0.9),
    )


def run(tmp_path, **changes):
    fields = dict(output_dir=tmp_path / "eval", num_drawn=2, draw_threshold=0.3, progress=False)
    return evaluate(changes.pop("predict", perfect), batches(), truth(), COCO, **(fields | changes))


def test_perfect_poses_score_one_and_files_agree_with_the_return_value(tmp_path):
    metrics = run(tmp_path)
    assert metrics["keypoint/AP"] == pytest.approx(1.0)
    assert metrics["box/AP"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text()) == metrics
    assert metrics["threshold/f1"] == 1.0
    page = (tmp_path / "eval" / "index.html").read_text()
    assert f"all: best F1 100.0 at {metrics['threshold/score']:.3f}" in page
    assert page.count("<polyline") == 3  # precision, recall, F1
    detections = json.loads((tmp_path / "eval" / "detections.json").read_text())
    assert [d["image_id"] for d in detections] == [5, 5, 8, 8, 11, 11, 20, 20]  # by picture, invalid ones absent
    assert not list((tmp_path / "eval").rglob("*.tmp"))


def test_pictures_with_people_are_drawn_at_their_original_size(tmp_path):
    run(tmp_path)
    drawn = sorted((tmp_path / "eval" / "pictures").iterdir())
    assert [path.name for path in drawn] == ["11.jpg", "5.jpg"]
    with Image.open(drawn[0]) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (120, 160, 3)
    x, y = joints(11)[0]
    assert np.abs(pixels[int(y), int(x)] - 127).max() > 60  # a joint
    assert np.abs(pixels[110, 150] - 127).max() < 5  # nothing there


def test_pictures_that_did_not_come_cost_no_recall():
    metrics = evaluate(perfect, batches()[:1], truth(), COCO, progress=False)
    assert metrics["keypoint/AR"] == pytest.approx(1.0)


def test_result_does_not_depend_on_the_order_of_batches(tmp_path):
    run(tmp_path, output_dir=tmp_path / "a")
    evaluate(perfect, batches()[::-1], truth(), COCO, tmp_path / "b", num_drawn=0, progress=False)
    assert (tmp_path / "a" / "detections.json").read_bytes() == (tmp_path / "b" / "detections.json").read_bytes()


def test_twice_missing_or_unknown_pictures_are_errors_without_metrics(tmp_path):
    cases = [
        (batches() + batches()[:1], None, "picture 11 came twice"),
        (batches(), 5, "4 pictures came, 5 were expected"),
        ([batch_of((123,))], None, "first id 123"),
    ]
    for given, expected, message in cases:
        with pytest.raises(UserError, match=message):
            evaluate(
                perfect, given, truth(), COCO, tmp_path / "eval", num_drawn=0, progress=False, num_pictures=expected
            )
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("fields", [("scores",), ("boxes",), ("scores", "boxes", "keypoints")])
def test_a_model_that_gives_nan_is_an_error_that_names_the_picture(fields, tmp_path):
    def broken(batch: Batch) -> Poses:
        """As decoded: a NaN box is not larger than nothing, so that no query is valid."""
        poses = perfect(batch)
        is_broken = batch.image_id == 8
        changes = {}
        for name in fields:
            value = np.array(getattr(poses, name))
            value[is_broken] = np.nan
            changes[name] = value
        return replace(poses, valid=poses.valid & ~is_broken[:, None], **changes)

    with pytest.raises(UserError, match="NaN on picture 8"):
        evaluate(broken, batches(), truth(), COCO, tmp_path / "eval", num_drawn=0, progress=False)
    assert not (tmp_path / "eval").exists()


def test_nan_on_a_filler_picture_is_nobodys_business():
    def broken(batch: Batch) -> Poses:
        poses = perfect(batch)
        return replace(poses, scores=np.where(batch.image_id[:, None] == FILLER_ID, np.nan, poses.scores))

    assert evaluate(broken, batches(), truth(), COCO, progress=False)["keypoint/AP"] == pytest.approx(1.0)


class OnDevice:
    """An array that notes when the host waits for it."""

    def __init__(self, values: np.ndarray, events: list[str]):
        self.values, self.events = values, events

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        self.events.append("read")
        return self.values


def test_the_next_batch_is_started_before_the_last_one_is_read():
    events = []

    def predict(batch: Batch) -> Poses:
        events.append("predict")
        poses = perfect(batch)
        return replace(poses, scores=OnDevice(poses.scores, events))

    evaluate(predict, batches(), truth(), COCO, progress=False)
    assert events == ["predict", "predict", "read", "predict", "read", "read"]
