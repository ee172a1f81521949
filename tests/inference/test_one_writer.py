"""Two commands at once never write into one output folder."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from querypose_jax.errors import UserError
from querypose_jax.inference.one_writer import one_writer
from querypose_jax.inference.predict_input import predict_input

HOLD = """
import sys
from pathlib import Path
from querypose_jax.inference.one_writer import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def picture(folder):
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(folder / "a.png")
    return str(folder / "a.png")


def test_a_second_command_is_refused_until_the_first_is_gone_even_where_that_was_killed(predictor, tmp_path):
    source, out = picture(tmp_path), tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"^{out} is in use: another command writes .* name another output$"):
            predict_input(predictor, source, str(out))
        assert not list(out.iterdir())
        first.kill()
    predict_input(predictor, source, str(out))
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "predictions.json"], "and no lock"


def test_a_folder_that_got_nothing_is_not_left_behind(tmp_path):
    with pytest.raises(UserError), one_writer(tmp_path / "out"):
        raise UserError("nothing to read")
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with one_writer(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir(), "it was there before"


def test_where_no_folder_can_be_made_the_writer_tells(tmp_path):
    (tmp_path / "file").write_text("")
    with one_writer(tmp_path / "file"):
        pass
    assert os.path.isfile(tmp_path / "file")
