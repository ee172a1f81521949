import json
from pathlib import Path

import pytest
from flax import nnx
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.files import output_names, predict_files
from querypose_jax.inference.predict_input import predict_input
from querypose_jax.inference.predictor import Predictor
from querypose_jax.pictures import PictureError
from tests.inference.conftest import RedRectangle


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


def people_of(folder: Path) -> list[tuple[int, str, float]]:
    """(image id, file name, left side of the box) of the best person of each result picture."""
    found = json.loads((folder / "predictions.json").read_text())
    return [(person["image_id"], person["file_name"], person["bbox"][0]) for person in found if person["score"] > 0.8]


def write_shifted(path: Path, left: int) -> None:
    picture = Image.new("RGB", (120, 80), (0, 90, 0))
    picture.paste((255, 0, 0), (left, 20, left + 30, 60))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def test_a_picture_that_a_list_names_twice_is_two_pictures(predictor, tmp_path, capsys):
    """By the same and by other spellings of its path, beside one that cannot be read."""
    for name, left in (("a.png", 10), ("b.png", 50)):
        write_shifted(tmp_path / "in" / name, left)
    (tmp_path / "in" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "in" / "link.png").symlink_to("a.png")
    entries = ["a.png", "b.png", "broken.png", "a.png", "./a.png", "../in/a.png", "link.png", "broken.png", "b.png"]
    (tmp_path / "in" / "list.txt").write_text("\n".join(entries))
    assert predict_files(predictor, str(tmp_path / "in" / "list.txt"), str(tmp_path / "out"), progress=False) == 7
    found = people_of(tmp_path / "out")
    assert [image_id for image_id, _, _ in found] == [1, 2, 4, 5, 6, 7, 9]
    assert [Path(name).name for _, name, _ in found] == [
        "a.png",
        "b.png",
        "a.png",
        "a.png",
        "a.png",
        "link.png",
        "b.png",
    ]
    assert [left for _, _, left in found] == pytest.approx([10, 50, 10, 10, 10, 10, 50], abs=4)
    assert len(listing(tmp_path / "out")) == 7 + 1
    assert capsys.readouterr().out.count("skipped: ") == 2
    assert len(predictor([tmp_path / "in" / "a.png"] * 3)) == 3


class Stopping:
    """A predictor that is interrupted after some pictures; it counts what it is asked for."""

    def __init__(self, predictor: Predictor, after: int = 1_000, error: BaseException | None = None):
        self.predictor, self.after, self.error = predictor, after, error
        self.fingerprint, self.skeleton, self.threshold = predictor.fingerprint, predictor.skeleton, predictor.threshold
        self.asked = 0

    def stream(self, pictures, threshold, on_error=None):
        for prediction in self.predictor.stream(pictures, threshold, on_error):
            if self.asked == self.after:
                raise self.error
            self.asked += 1
            yield prediction


def folder_of(tmp_path: Path, count: int) -> str:
    for index in range(count):
        write_shifted(tmp_path / "in" / f"{index}.png", 5 * index)
    return str(tmp_path / "in")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), UserError),
        (PictureError("one went wrong"), PictureError),
        (RuntimeError("out of memory"), RuntimeError),
    ],
)
def test_what_ends_a_folder_early_keeps_what_is_done_and_the_same_call_goes_on(
    predictor, tmp_path, capsys, error, raised
):
    source, out = folder_of(tmp_path, 11), tmp_path / "out"
    (tmp_path / "in" / "3.png").write_bytes(b"broken")
    with pytest.raises(raised) as caught:
        predict_files(Stopping(predictor, 6, error), source, str(out), progress=False)
    said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert (
        f"6 of 11 pictures are done ({out / 'predictions.part.jsonl'}); the same command goes on with the rest" in said
    )
    assert "\n" not in said
    assert len(listing(out)) == 6 + 1
    lines = [json.loads(line) for line in (out / "predictions.part.jsonl").read_text().splitlines()]
    assert [Path(line["file_name"]).name for line in lines[1:]] == [f"{i}.png" for i in (0, 1, 10, 2, 4, 5)]

    capsys.readouterr()
    again = Stopping(predictor)
    assert predict_files(again, source, str(out), progress=False) == 10
    assert again.asked == 4
    assert "6 of 11 pictures are done" in capsys.readouterr().out
    assert len(listing(out)) == 10 + 1
    predict_files(predictor, source, str(tmp_path / "at once"), progress=False)
    at_once = (tmp_path / "at once" / "predictions.json").read_bytes()
    assert (out / "predictions.json").read_bytes() == at_once


def stopped(predictor: Predictor, tmp_path: Path, **changed) -> tuple[str, str]:
    """A folder of five pictures and the output that three of them are in."""
    source, out = folder_of(tmp_path, 5), str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        predict_files(Stopping(predictor, 3, KeyboardInterrupt()), source, out, progress=False, **changed)
    return source, out


def test_unfinished_work_of_another_command_is_neither_mixed_in_nor_lost(predictor, tmp_path):
    source, out = stopped(predictor, tmp_path)
    part = tmp_path / "out" / "predictions.part.jsonl"
    before = part.read_bytes()
    other = Predictor(predictor.config, *nnx.split(moved_model()), predictor.skeleton)
    (tmp_path / "others").mkdir()
    write_red(tmp_path / "others" / "1.png")
    for given, said in (
        ((predictor, source, out, 0.5), "threshold is 0.3 there and 0.5 here"),
        ((other, source, out), "model is '[0-9a-f]{16}' there and '[0-9a-f]{16}' here"),
        ((predictor, str(tmp_path / "others"), out), "input is '.*in' there and '.*others' here"),
    ):
        with pytest.raises(UserError, match=f"holds the unfinished work of another command .*{said}.* remove the file"):
            predict_files(*given, progress=False)
    assert part.read_bytes() == before
    part.write_bytes(b"notes\n")
    with pytest.raises(UserError, match="is not what an unfinished command leaves"):
        predict_files(predictor, source, out, progress=False)
    assert part.read_bytes() == b"notes\n"


def moved_model() -> RedRectangle:
    model = RedRectangle()
    model.offset[...] = 3.0
    return model


def test_a_picture_that_changed_or_came_or_lost_its_drawing_meanwhile_is_predicted_anew(predictor, tmp_path):
    source, out = stopped(predictor, tmp_path)  # 0, 1, 2 are done
    write_shifted(tmp_path / "in" / "1.png", 60)
    (tmp_path / "out" / "2.jpg").unlink()
    write_shifted(tmp_path / "in" / "00.png", 70)
    again = Stopping(predictor)
    assert predict_files(again, source, out, progress=False) == 6
    assert again.asked == 5
    lefts = [left for _, _, left in people_of(tmp_path / "out")]
    assert lefts == pytest.approx([0, 70, 60, 10, 15, 20], abs=4)  # 0, 00, 1, 2, 3, 4


def test_a_line_that_was_cut_off_counts_as_not_done(predictor, tmp_path):
    source, out = stopped(predictor, tmp_path)
    part = tmp_path / "out" / "predictions.part.jsonl"
    part.write_bytes(part.read_bytes()[:-30])
    again = Stopping(predictor)
    assert predict_files(again, source, out, progress=False) == 5
    assert again.asked == 3
    assert not part.exists()


def test_several_videos_go_on_where_they_stopped_and_leave_out_what_is_none(predictor, tmp_path, capsys, monkeypatch):
    films = pytest.importorskip("tests.inference.films", reason="videos need PyAV")
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "d"):
        films.write_at(tmp_path / "in" / f"{name}.mkv", [0, 0.04, 0.08])
    (tmp_path / "in" / "c.mkv").write_bytes(b"none")
    stopping = Stopping(predictor, 4, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        predict_input(stopping, str(tmp_path / "in"), str(tmp_path / "out"))
    assert "the first 1 frames" in str(caught.value)
    assert "1 of 4 videos are done; the same command goes on with the rest" in str(caught.value)
    again = Stopping(predictor)
    said = predict_input(again, str(tmp_path / "in"), str(tmp_path / "out"))
    assert said.startswith("3 videos with poses (9 frames)")
    assert again.asked == 5, "two frames of the second film and the third film"
    assert "skipped: " in capsys.readouterr().out
    assert listing(tmp_path / "out") == [f"{name}.{kind}" for name in "abd" for kind in ("jsonl", "mp4")]
