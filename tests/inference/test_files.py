import json
from pathlib import Path

import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.files import output_names, predict_files
from querypose_jax.pictures import PictureError


def write_red(path: Path) -> None:
    picture = Image.new("RGB", (120, 80), (0, 90, 0))
    picture.paste((255, 0, 0), (20, 20, 60, 60))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_folder_gives_a_picture_each_and_one_json_and_skips_what_is_broken(predictor, tmp_path, capsys):
    for name in ("a.png", "a.jpg", "b.jpg"):
        write_red(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 truncated")
    assert predict_files(predictor, str(tmp_path / "in"), str(tmp_path / "out"), progress=False) == 3
    assert listing(tmp_path / "out") == ["a.jpg.jpg", "a.png.jpg", "b.jpg", "predictions.json"]
    assert capsys.readouterr().out.count("skipped: ") == 1

    people = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(people) == 3 * 2  # two people above the default threshold on each
    assert {Path(person["file_name"]).name for person in people} == {"a.png", "a.jpg", "b.jpg"}
    assert len({person["image_id"] for person in people}) == 3
    assert all(len(person["keypoints"]) == 51 and len(person["bbox"]) == 4 for person in people)


def test_the_only_picture_being_broken_is_an_error_that_leaves_nothing(predictor, tmp_path):
    (tmp_path / "in").mkdir()
    broken = tmp_path / "in" / "broken.jpg"
    broken.write_bytes(b"nothing")
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        predict_files(predictor, str(broken), str(tmp_path / "out"), progress=False)
    with pytest.raises(UserError, match="none of the 1 pictures"):
        predict_files(predictor, str(tmp_path / "in"), str(tmp_path / "out"), progress=False)
    assert not (tmp_path / "out").exists()


def test_output_never_overwrites_the_input(predictor, tmp_path):
    write_red(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match="another one for the output"):
        predict_files(predictor, str(tmp_path), str(tmp_path), progress=False)
    with pytest.raises(UserError, match="this is a file"):
        predict_files(predictor, str(tmp_path), str(tmp_path / "a.jpg"), progress=False)
    assert listing(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == before


@pytest.mark.parametrize("content", [None, "folder"])
def test_no_picture_at_all_is_one_line(predictor, tmp_path, content):
    source = tmp_path / "in"
    if content:
        source.mkdir()
    with pytest.raises(UserError, match=r"no (such )?picture"):
        predict_files(predictor, str(source), str(tmp_path / "out"), progress=False)


def test_output_names_never_collide():
    paths = [Path(p) for p in ("x/a.png", "x/a.jpg", "x/a.png.jpg", "y/a.jpg", "x/B.png", "y/b.PNG", "x/c.webp")]
    names = output_names(paths)
    assert len({name.lower() for name in names}) == len(paths)
    assert names[0] == "a.png.jpg"
    assert names[-1] == "c.jpg"
