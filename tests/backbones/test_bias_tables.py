"""Position biases for another window: PyTorch's bicubic, by hand and against it."""

import numpy as np
import pytest

from querypose_jax.backbones.bias_tables import cubic_weights, resize_table, window_of


def test_windows_are_known_by_their_number_of_rows():
    assert window_of(169) == 7
    assert window_of(529) == 12
    assert window_of(144) is None  # an even side
    assert window_of(170) is None


def test_the_same_window_keeps_the_table():
    table = np.random.default_rng(0).standard_normal((169, 3), np.float32)
    np.testing.assert_allclose(resize_table(table, 169), table, atol=1e-6)


def test_weights_of_a_doubled_line_are_those_of_the_kernel():
    # Position 0.25 of four taps, a = -0.75: w(1.25), w(0.25), w(0.75), w(1.75) with the first tap at the border.
    w = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    np.testing.assert_allclose(cubic_weights(4, 8)[3], [w[0], w[1], w[2], w[3]])
    np.testing.assert_allclose(cubic_weights(4, 8)[1], [w[0] + w[1], w[2], w[3], 0])  # the border repeats
    np.testing.assert_allclose(cubic_weights(23, 13).sum(1), 1)


def test_axes_and_heads_keep_their_places():
    y, x = np.divmod(np.arange(23 * 23), 23)
    table = np.stack([y / 22, x / 22], 1).astype(np.float32)  # head 0 grows downwards, head 1 to the right
    resized = resize_table(table, 169).reshape(13, 13, 2)
    assert (np.diff(resized[..., 0], axis=0) > 0).all()
    assert np.allclose(np.diff(resized[..., 0], axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(resized[..., 1], resized[..., 0].T, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(12, 7), (7, 12), (8, 7)])
def test_it_is_the_interpolation_of_pytorch(torch, old, new):
    table = np.random.default_rng(0).standard_normal(((2 * old - 1) ** 2, 4), np.float32)
    square = torch.from_numpy(table.T.reshape(1, 4, 2 * old - 1, 2 * old - 1).astype(np.float64))
    side = 2 * new - 1
    expected = torch.nn.functional.interpolate(square, size=(side, side), mode="bicubic")
    expected = expected.numpy().reshape(4, side * side).T
    np.testing.assert_allclose(resize_table(table, side * side), expected, atol=1e-6)
