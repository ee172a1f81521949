"""The table before a run counts what is there; operations are worked out by hand."""

import jax
import jax.numpy as jnp

from querypose_jax.planning.flops import OTHER, flops_by_part
from querypose_jax.planning.summary import data_summary, model_summary
from tests import tiny_run


def test_operations_are_counted_by_scope_through_loops_conditions_and_compiled_functions():
    @jax.jit
    def product(x):
        return x @ x  # 2 * 4 * 4 * 4 = 128

    def program(x):
        with jax.named_scope("first"):
            x = product(x)
        with jax.named_scope("second"):
            x, _ = jax.lax.scan(lambda c, _: (product(c), None), x, length=5)
        x = jax.lax.cond(x[0, 0] > 0, lambda x: product(product(x)), product, x)
        image = jnp.zeros((1, 8, 8, 3))
        kernel = jnp.zeros((3, 3, 3, 2))
        with jax.named_scope("third"):
            y = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x, y

    shape = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    third = 2 * 8 * 8 * 2 * 3 * 3 * 3
    assert flops_by_part(program, shape) == {"first": 128, "second": 5 * 128, OTHER: 2 * 128, "third": third}


def test_model_summary_counts_every_parameter_once_and_every_part_computes():
    config = tiny_run.get_config()
    table = model_summary(config)
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[2:]}
    assert {"backbone.trunk", "backbone.pyramid", "box_decoders", "pose_decoders", "flow", "all"} <= set(rows)
    numbers = [int(cells[0].replace(",", "")) for name, cells in rows.items() if name != "all"]
    assert sum(numbers) == int(rows["all"][0].replace(",", ""))
    computing = ("backbone.trunk", "backbone.pyramid", "box_decoders", "pose_decoders")
    assert all(rows[name][2] != "-" for name in computing)
    assert "160x192" in table


def test_data_summary_says_how_much_there_is_and_how_often_it_is_seen():
    text = data_summary(12, 30, tiny_run.get_config(), devices=1)
    assert "12 pictures, 30 people (2.5 per picture)" in text
    assert "12 steps of 2 pictures on 1 device: 2.0 epochs" in text
