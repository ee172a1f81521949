"""Every converter against jax itself: what onnxruntime computes from the program is what jax computes."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing runs ONNX here")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from querypose_jax.errors import UserError  # noqa: E402
from querypose_jax.onnx.convert import CONVERTERS, convert  # noqa: E402
from querypose_jax.onnx.graph import Graph, Value, Weights  # noqa: E402

RNG = np.random.default_rng(0)
REALS = RNG.normal(size=(3, 4, 5)).astype(np.float32)
NUMBERS = RNG.integers(-9, 9, (3, 4, 5)).astype(np.int32)
BOOLS = RNG.random((3, 4, 5)) < 0.5
MAPS = RNG.normal(size=(2, 7, 9, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
PLACES = np.array([[0], [2], [1], [2]], np.int32)
AROUND = np.array([[0], [-1], [5], [2]], np.int32)  # also outside of three rows


def program(function, arrays, folder):
    """The ONNX model of a function of arrays that returns a tuple."""
    inputs = {f"x{i}": Value(x.shape, x.dtype, name=f"x{i}", narrow=x.shape) for i, x in enumerate(arrays)}
    graph = Graph(Weights(folder / "weights.bin"), "weights.bin")
    results = convert(graph, jax.make_jaxpr(function)(*arrays), list(inputs.values()))
    return graph.model(inputs, {f"y{i}": y for i, y in enumerate(results)}, {}, "")


def run(function, arrays, folder):
    """What onnxruntime computes."""
    path = folder / "program.onnx"
    path.write_bytes(program(function, arrays, folder).SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {f"x{i}": x for i, x in enumerate(arrays)})


def check(function, *arrays, folder):
    """Values, shapes and types agree."""
    expected = function(*map(jnp.asarray, arrays))
    for found, right in zip(run(function, arrays, folder), expected, strict=True):
        assert (found.dtype, found.shape) == (right.dtype, right.shape)
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


OF_REALS = dict(
    abs=jnp.abs, cos=jnp.cos, erfc=lax.erfc, exp=jnp.exp, floor=jnp.floor,
    logistic=jax.nn.sigmoid, neg=jnp.negative, sign=jnp.sign, sin=jnp.sin, square=jnp.square,
    log=lambda x: jnp.log(x * x + 1), sqrt=lambda x: jnp.sqrt(x * x), rsqrt=lambda x: lax.rsqrt(x * x + 0.1),
    pow=lambda x: jnp.power(x * x, 0.3),
    relu=jax.nn.relu, maximum=lambda x: jnp.maximum(x, 0.25), reduce_prod=lambda x: x.prod(1),
    subtracted_from=lambda x: 1 - x, stop=lax.stop_gradient, to_whole=lambda x: x.astype(jnp.int32),
    unstack=lambda x: jnp.stack(lax.unstack(x, axis=1)[::-1]),
    transpose=lambda x: x.transpose(2, 0, 1), reverse=lambda x: x[:, ::-1], cut=lambda x: x[1:, ::2, -2:],
    split=lambda x: jnp.concatenate(jnp.split(x, (1, 3), 1)[::-1], 1), stack=lambda x: jnp.stack([x, -x], 2),
    pad=lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0)), constant_values=7), squeeze=lambda x: x[:1].squeeze(0),
    argmax=lambda x: x.argmax(1), argmin=lambda x: x.argmin(-1), variance=lambda x: x.var(-1),
    broadcast=lambda x: jnp.broadcast_to(x[:, None], (3, 2, 4, 5)) + jnp.arange(4.0)[:, None],
    softmax=lambda x: jax.nn.softmax(x, 1), rows_times_matrix=lambda x: x @ jnp.ones((5, 2)),
    two_sums=lambda x: jnp.einsum("abc,abd->cd", x, x), batches=lambda x: jnp.einsum("abc,adc->bda", x, x),
)  # fmt: skip


@pytest.mark.parametrize("function", OF_REALS.values(), ids=OF_REALS)
def test_real_numbers(function, tmp_path):
    check(lambda x: (function(x),), REALS, folder=tmp_path)


OF_NUMBERS = dict(
    compare=lambda x: (x < 1) | (x >= 5) & (x <= 8) & (x > 6), unequal=lambda x: x != 3, equal=lambda x: x == 3,
    remainder=lambda x: lax.rem(x, jnp.int32(4)), modulo=lambda x: x % 4, divide=lambda x: lax.div(x, jnp.int32(4)),
    floor_divide=lambda x: x // 4, bits=lambda x: x & 5, to_real=lambda x: x / 2, minimum=lambda x: jnp.minimum(x, 2),
    sum=lambda x: x.sum((0, 2)), largest=lambda x: x.max(0), smallest=lambda x: x.min(0), to_bool=lambda x: x != 0,
)  # fmt: skip


@pytest.mark.parametrize("function", OF_NUMBERS.values(), ids=OF_NUMBERS)
def test_whole_numbers(function, tmp_path):
    check(lambda x: (function(x),), NUMBERS, folder=tmp_path)


OF_BOOLS = dict(
    invert=jnp.logical_not, all=lambda x: x.all(1), any=lambda x: x.any((0, 1)), count=lambda x: x.sum(-1),
    select=lambda x: jnp.where(x, x[::-1], x[:, ::-1]), number=lambda x: jnp.where(x, 1.5, -1),
)  # fmt: skip


@pytest.mark.parametrize("function", OF_BOOLS.values(), ids=OF_BOOLS)
def test_bools(function, tmp_path):
    check(lambda x: (function(x),), BOOLS, folder=tmp_path)


@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
@pytest.mark.parametrize("x", [REALS, NUMBERS, BOOLS], ids=["real", "whole", "bool"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "computed"])
def test_rows_are_taken_also_from_outside(x, mode, is_known, tmp_path):
    """Indices that are constants are folded; outside of the array they are moved, or their rows filled in."""
    places = PLACES[:, 0] if mode == "promise_in_bounds" else AROUND[:, 0]

    def take(x, places):
        return (x.at[:, places].get(mode=mode, wrap_negative_indices=False),)

    if is_known:
        check(lambda x: take(x, places), x, folder=tmp_path)
    else:
        check(take, x, places, folder=tmp_path)


def test_patches_are_taken_from_a_map_of_each_picture(tmp_path):
    """The gather of deformable attention: windows, and axes of the array that run along with those of the indices."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(2, 3, 4), collapsed_slice_dims=(), start_index_map=(1, 2), operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )  # fmt: skip
    corners = RNG.integers(0, (6, 8), (2, 5, 2)).astype(np.int32)

    def patches(maps, corners):
        return (lax.gather(maps, corners, numbers, (1, 2, 2, 3), mode="promise_in_bounds"),)

    check(patches, MAPS, corners, folder=tmp_path)


def test_a_gather_that_takes_a_part_of_each_row(tmp_path):
    numbers = lax.GatherDimensionNumbers(offset_dims=(0, 2), collapsed_slice_dims=(1,), start_index_map=(1,))
    check(lambda x, i: (lax.gather(x, i, numbers, (2, 1, 4), mode="clip"),), REALS, PLACES, folder=tmp_path)


@pytest.mark.parametrize("x", [REALS, NUMBERS], ids=["real", "whole"])
@pytest.mark.parametrize("places", [PLACES[:3], AROUND], ids=["inside", "around"])
def test_rows_are_written_and_what_lies_outside_is_dropped(x, places, tmp_path):
    def write(x, places):
        return (x.at[places[:, 0]].set(7, wrap_negative_indices=False),)

    check(write, x, places, folder=tmp_path)
    check(lambda x: write(x, places), x, folder=tmp_path)


def test_columns_are_written_for_each_picture(tmp_path):
    columns = np.array([3, 0], np.int32)
    check(lambda x, i: (jax.vmap(lambda x: x.at[:, i].set(-x[:, :2]))(x),), REALS, columns, folder=tmp_path)


@pytest.mark.parametrize("x", [NUMBERS // 4, BOOLS, REALS], ids=["whole", "bool", "real"])
def test_equal_keys_stay_in_order(x, tmp_path):
    def order(x):
        return jnp.sort(x, axis=1), jnp.argsort(x, axis=1, stable=True)

    check(order, x, folder=tmp_path)


def test_of_equal_numbers_the_first_are_the_best(tmp_path):
    check(lambda x: tuple(lax.top_k(x, 3)), (NUMBERS // 4).astype(np.float32), folder=tmp_path)


@pytest.mark.parametrize("stride", [1, 2])
def test_what_follows_a_convolution_goes_into_its_kernel(stride, tmp_path):
    """Batch norm and bias, also where the convolution itself is read too."""

    def network(x):
        y = lax.conv_general_dilated(
            x, KERNEL, (stride, stride), ((1, 1), (0, 2)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        normed = (y - jnp.arange(4.0)) * jnp.array([1.0, -2, 0.5, 3]) + 0.25
        return jax.nn.relu(normed), 2 - y, y

    check(network, MAPS, folder=tmp_path)
    kinds = [node.op_type for node in program(lambda x: network(x)[:1], [MAPS], tmp_path).graph.node]
    assert kinds.count("Conv") == 1 and not {"Add", "Sub", "Mul"}.intersection(kinds)


def test_grouped_and_dilated_convolutions_and_pooling(tmp_path):
    grouped = RNG.normal(size=(3, 3, 1, 6)).astype(np.float32)

    def network(x):
        y = lax.conv_general_dilated(
            x, grouped, (1, 1), "SAME", rhs_dilation=(2, 1), feature_group_count=3,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return y, lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))

    check(network, MAPS, folder=tmp_path)


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_carry_stack_and_share(reverse, tmp_path):
    """A carry, slices, results of every turn, and something computed outside that every turn reads."""

    def network(x, y):
        shared = jnp.exp(x[0]) + jnp.broadcast_to(y[0, 0], (4, 5))

        def turn(carry, rows):
            return carry + rows[0] * shared, (carry - rows[1], rows[1] > 0)

        return jax.tree.leaves(lax.scan(turn, x[1], (x, y), reverse=reverse))

    check(network, REALS, NUMBERS.astype(np.float32), folder=tmp_path)


def test_a_loop_of_one_turn_is_none(tmp_path):
    def network(x):
        return lax.scan(lambda carry, row: (carry + row, carry * row), x[0], x[1:2])

    check(network, REALS, folder=tmp_path)
    assert "Scan" not in [node.op_type for node in program(network, [REALS], tmp_path).graph.node]


def test_the_branch_without_a_platform_is_taken(tmp_path):
    def network(x):
        return (lax.platform_dependent(x, cpu=lambda x: x + 1, default=lambda x: x + 2),)

    (found,) = run(network, [REALS], tmp_path)
    np.testing.assert_array_equal(found, REALS + 2)


def test_large_arrays_lie_once_in_a_file_and_what_nobody_reads_is_left_out(tmp_path):
    table = RNG.random((5, 300), np.float32)

    def network(x):
        unread = jnp.sin(x) @ table
        return x @ table + (x @ jnp.asarray(table)).max(-1, keepdims=True) + 0 * unread[..., :1].shape[0], x

    model = program(network, [REALS], tmp_path)
    assert (tmp_path / "weights.bin").stat().st_size == table.nbytes
    assert [x.data_location for x in model.graph.initializer].count(onnx.TensorProto.EXTERNAL) == 1
    assert "Sin" not in [node.op_type for node in model.graph.node]
    check(network, REALS, folder=tmp_path)


def test_an_operation_without_converter_is_named(tmp_path):
    with pytest.raises(UserError, match=r"jax's operation 'cumsum' \(of float32\[3, 4, 5\]\) has no converter"):
        program(lambda x: (jnp.cumsum(x, 1),), [REALS], tmp_path)
    assert "cumsum" not in CONVERTERS


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (lax.pad(x, 0.0, ((0, 0, 1), (0, 0, 0), (0, 0, 0))),), "'pad' between numbers"),
        (lambda x: lax.sort((x, x, x), num_keys=2), "'sort' has no converter for several keys"),
        (lambda x: (lax.conv(x, x, (1,), "SAME"),), "'conv_general_dilated' has a converter for known kernels"),
        (lambda x: (lax.reduce_window(x, -jnp.inf, lax.max, (2, 1, 1), (1, 1, 1), "VALID"),), "'reduce_window_max'"),
    ],
)
def test_forms_of_an_operation_without_converter_are_named(function, message, tmp_path):
    with pytest.raises(UserError, match=message):
        program(function, [REALS], tmp_path)
