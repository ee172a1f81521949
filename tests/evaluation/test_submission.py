import json
import zipfile

from querypose_jax.evaluation.submission import PEOPLE_SCORED, submitted, write_submission


def detections(count: int) -> list[dict]:
    people = [
        dict(image_id=i % 2 + 1, category_id=1, score=(i * 7 % count) / count, bbox=[0, 0, 1, 1], keypoints=[i, 1, 1])
        for i in range(count)
    ]
    return people


def test_the_zip_holds_one_file_of_its_name_with_what_the_server_reads(tmp_path):
    path = write_submission(detections(6), tmp_path / "eval", "test-dev", "querypose")
    assert path.name == "person_keypoints_test-dev2017_querypose_results.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["person_keypoints_test-dev2017_querypose_results.json"]
        content = json.loads(archive.read(archive.namelist()[0]))
    assert len(content) == 6
    assert all(set(entry) == {"image_id", "category_id", "keypoints", "score"} for entry in content)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_only_the_people_that_are_scored_are_sent_the_best_first():
    content = submitted(detections(100))
    for image_id in (1, 2):
        own = [entry["score"] for entry in content if entry["image_id"] == image_id]
        everybody = sorted((d["score"] for d in detections(100) if d["image_id"] == image_id), reverse=True)
        assert own == everybody[:PEOPLE_SCORED]


def test_equal_scores_stay_in_their_order():
    people = [d | {"score": 0.5} for d in detections(100)]
    assert [entry["keypoints"][0] for entry in submitted(people)[:PEOPLE_SCORED]] == list(range(0, 40, 2))
