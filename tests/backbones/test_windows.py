"""Windows of a Swin on numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np

from querypose_jax.backbones.windows import bands, join_windows, relative_positions, shift_mask, split_windows

FLOAT32 = jnp.dtype("float32")


def test_windows_are_row_major_and_joining_undoes_splitting():
    x = jnp.arange(2 * 14 * 21.0).reshape(2, 14, 21, 1)
    windows = split_windows(x)
    assert windows.shape == (2, 6, 49, 1)
    assert windows[0, 0, :8, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 21], "a window's first row, then its second"
    assert windows[0, 1, 0, 0] == 7, "the second window is to the right of the first one"
    assert windows[0, 3, 0, 0] == 7 * 21, "the fourth one below it"
    assert np.array_equal(join_windows(windows, 14, 21), x)


def test_relative_position_is_query_minus_key():
    """Table rows count dy from -6, then dx from -6; tokens are row-major in a 7 x 7 window."""
    index = relative_positions()
    assert index[0, 0] == 6 * 13 + 6
    assert index[8, 0] == 7 * 13 + 7, "one down and one to the right of the key"
    assert index[0, 48] == 0, "six up and six to the left"
    assert index[48, 0] == 168


def test_bands_split_the_last_window_at_what_was_rolled_in():
    assert bands(14).tolist() == [0] * 7 + [1] * 4 + [2] * 3
    assert bands(7).tolist() == [1] * 4 + [2] * 3, "also where one window covers the map"


def test_tokens_of_two_regions_do_not_see_each_other():
    mask = np.asarray(shift_mask(14, 7, FLOAT32))
    assert mask.shape == (2, 1, 49, 49)
    assert set(np.unique(mask)) == {-100, 0}
    columns = np.arange(49) % 7 < 4  # left of what was rolled in
    assert np.array_equal(mask[0, 0] == 0, columns[:, None] == columns[None]), "first window: columns alone"
    rows = np.arange(49) // 7 < 4
    same = (columns[:, None] == columns[None]) & (rows[:, None] == rows[None])
    assert np.array_equal(mask[1, 0] == 0, same), "last window: both"
