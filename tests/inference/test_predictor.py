import io

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import querypose_jax
from querypose_jax.errors import UserError
from querypose_jax.inference.predictor import Predictor
from querypose_jax.pictures import PictureError
from tests.inference.conftest import RedRectangle

BOX = (30, 16, 70, 80)  # x0, y0, x1, y1 of the red rectangle, original pixels


def red_picture(width: int = 192, height: int = 128, box: tuple[int, int, int, int] = BOX) -> Image.Image:
    picture = Image.new("RGB", (width, height), (0, 0, 120))
    picture.paste((255, 0, 0), box)
    return picture


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def test_every_kind_of_source_gives_the_same_boxes_in_original_pixels(predictor, tmp_path):
    picture = red_picture()
    path = tmp_path / "red.png"
    picture.save(path)
    for source in (path, str(path), png(picture), np.asarray(picture), picture):
        prediction = predictor(source)
        assert prediction.boxes == pytest.approx(np.array([BOX, BOX]), abs=3)  # the network sees half the size
        assert prediction.keypoints[0, 0] == pytest.approx(prediction.boxes[0, :2])
        assert prediction.picture.size == (192, 128)


def test_people_come_sorted_and_thresholded_and_invalid_ones_never(predictor):
    assert predictor(red_picture()).scores == pytest.approx([0.9, 0.6])
    assert predictor(red_picture(), threshold=0.0).scores == pytest.approx([0.9, 0.6, 0.2])
    assert predictor(red_picture(), threshold=0.7).scores == pytest.approx([0.9])


def test_exif_orientation_is_applied_to_pillow_pictures(predictor):
    sideways = red_picture().rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    buffer = io.BytesIO()
    sideways.save(buffer, format="PNG", exif=exif)
    with Image.open(buffer) as opened:
        assert predictor(opened).boxes[0] == pytest.approx(predictor(red_picture()).boxes[0])


def test_order_is_kept_and_a_picture_does_not_depend_on_its_company(predictor):
    shapes = [(192, 128), (128, 192), (192, 128), (300, 300), (96, 64), (500, 60), (192, 128)]
    pictures = [red_picture(w, h, (10 + i, 12, 30 + i, 40)) for i, (w, h) in enumerate(shapes)]
    together = predictor(pictures)
    assert [p.picture.size for p in together] == shapes
    for alone, company in zip(map(predictor, pictures), together, strict=True):
        np.testing.assert_array_equal(alone.boxes, company.boxes)
        np.testing.assert_array_equal(alone.keypoints, company.keypoints)


def test_folder_and_glob_give_pictures_by_name(predictor, tmp_path):
    for i, name in enumerate(("b.png", "a.PNG", "c.bmp")):
        red_picture(100 + i, 80).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert [p.picture.width for p in predictor(tmp_path)] == [101, 100, 102]
    assert [p.picture.width for p in predictor(str(tmp_path / "*.bmp"))] == [102]


def test_stream_is_lazy_and_reads_endless_sources(predictor):
    def endless():
        while True:
            yield red_picture()

    stream = predictor.stream(endless())
    assert len([next(stream) for _ in range(20)]) == 20


def test_unreadable_pictures_raise_or_are_told(predictor, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        predictor(broken)
    errors = []
    found = list(predictor.stream([red_picture(), broken, red_picture()], on_error=errors.append))
    assert len(found) == 2
    assert len(errors) == 1
    assert "broken.jpg" in str(errors[0])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (3.5, "float is no picture"),
        ("nowhere.jpg", "nowhere.jpg"),
        ("nowhere/*.jpg", "no file fits"),
    ],
)
def test_bad_sources_end_in_one_line(predictor, source, message):
    with pytest.raises(UserError, match=message) as caught:
        predictor(source)
    assert "\n" not in str(caught.value)


def test_prediction_draws_and_exports(predictor):
    prediction = predictor(red_picture())
    drawn = prediction.draw()
    assert drawn.size == (192, 128)
    assert np.any(np.asarray(drawn) != np.asarray(prediction.picture))
    assert np.array_equal(np.asarray(prediction.picture), np.asarray(red_picture())), "drawing must not touch it"
    assert prediction.draw(np.zeros((128, 192, 3), np.uint8)).size == (192, 128)

    first = prediction.to_coco(image_id=7)[0]
    x0, y0, x1, y1 = prediction.boxes[0]
    assert first["image_id"] == 7
    assert first["category_id"] == 1
    assert first["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-3)
    assert first["keypoints"][:3] == pytest.approx([x0 - 0.5, y0 - 0.5, 0.8], abs=1e-3)

    row = prediction.to_rows()[1]
    assert row["person"] == 1
    assert row["score"] == pytest.approx(0.6)
    assert row["nose_x"] == pytest.approx(x0)
    assert row["right_ankle_y"] == pytest.approx(y1)


def test_a_picture_with_nobody_draws_and_exports_nothing(predictor):
    nobody = predictor(red_picture(), threshold=0.99)
    assert len(nobody) == 0
    assert nobody.to_coco() == []
    assert nobody.to_rows() == []
    assert np.array_equal(np.asarray(nobody.draw()), np.asarray(red_picture()))


def test_package_exports_lazily():
    assert querypose_jax.Predictor.__name__ == "Predictor"
    assert set(querypose_jax.__all__) <= set(dir(querypose_jax))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        querypose_jax.Nonsense  # noqa: B018


def test_a_text_file_lists_pictures_in_its_order_beside_it(predictor, tmp_path):
    for width, name in ((100, "a.png"), (110, "b.png")):
        red_picture(width, 80).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("b.png\n\na.png\n")
    assert [p.picture.width for p in predictor(tmp_path / "list.txt")] == [110, 100]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="names no picture"):
        predictor(tmp_path / "empty.txt")


def test_warm_up_compiles_what_a_picture_of_this_size_needs(predictor):
    warm = Predictor(predictor.config, *nnx.split(RedRectangle()), predictor.skeleton)
    warm.warm_up([(128, 192)])
    assert warm._predict._cache_size() == 2  # one picture, a full batch
    warm(red_picture(192, 128))
    warm([red_picture(192, 128)] * 2)
    assert warm._predict._cache_size() == 2
    warm(red_picture(128, 192))
    assert warm._predict._cache_size() == 3
