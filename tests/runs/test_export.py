"""The verb export says which of its flags is wrong before it looks for a run."""

from pathlib import Path

import pytest

from configs import synthetic_tiny
from querypose_jax.errors import UserError
from querypose_jax.runs.export import export


@pytest.mark.parametrize(
    ("canvases", "batch_sizes", "message"),
    [
        (["foo"], [], "--canvases=foo: a canvas is HEIGHTxWIDTH"),
        (["800x1088", "800"], [], "--canvases=800: "),
        (["8x8x8"], [], "--canvases=8x8x8: "),
        (["-8x8"], [], "--canvases=-8x8: "),
        ([], ["1", "two"], "--batch_sizes=two: a batch size is a whole number"),
    ],
)
def test_a_wrong_canvas_or_batch_size_is_named(canvases, batch_sizes, message, tmp_path):
    given = Path("nowhere"), None, False, str(tmp_path / "out"), canvases, batch_sizes, ["cpu"], "stablehlo"
    with pytest.raises(UserError, match=message):
        export(synthetic_tiny.get_config(), *given)
    assert not any(tmp_path.iterdir())
