import jax
import pytest

from configs import synthetic_tiny
from querypose_jax.devices.sharding import RULES
from querypose_jax.planning import advice
from querypose_jax.planning.programs import Program, TooLarge
from querypose_jax.training.build import abstract_state

GIB = advice.GIB
MESH = jax.sharding.AbstractMesh((1, 8), ("data", "fsdp"))


def program(memory: float, recomputed: int = 0) -> Program:
    return Program(int(memory) // 2, int(memory) - int(memory) // 2, 2e12, 3e9, {"all-reduce": 4_000_000}, recomputed)


def test_memory_is_a_straight_line_through_what_was_compiled():
    rule = advice.fit("replicated", {1: program(700), 3: program(1100)}, fixed=123)
    assert (rule.at_no_picture, rule.per_picture) == (500, 200)
    assert rule.largest_batch(1299) == 3
    assert rule.largest_batch(1300) == 4
    assert rule.largest_batch(100) == 0


@pytest.mark.parametrize("squeezed", [program(1000, recomputed=12), TooLarge(1000, 900)])
def test_a_program_that_was_short_of_room_says_nothing_about_the_memory_of_a_picture(squeezed):
    rule = advice.fit("replicated", {1: program(700), 2: squeezed}, fixed=100)
    assert (rule.at_no_picture, rule.per_picture) == (100, 600)
    assert rule.largest_batch(1000) == 1  # as a line through both it would be 2
    rule = advice.fit("replicated", {2: squeezed, 4: TooLarge(1800, 900)}, fixed=100)
    assert (rule.at_no_picture, rule.per_picture) == (100, 450)  # at least
    rule = advice.fit("replicated", {1: program(700), 2: program(800), 9: squeezed}, fixed=123)
    assert (rule.at_no_picture, rule.per_picture) == (600, 100)


def test_what_no_picture_changes_is_the_state_and_one_set_of_gradients():
    _, state = abstract_state(synthetic_tiny.get_config())
    count = sum(x.size for x in jax.tree.leaves(state.params))
    assert advice.fixed_bytes(state, "replicated", MESH, 2) == advice.total_bytes(state) + 2 * count
    split = advice.fixed_bytes(state, "zero1", MESH, 2)
    assert split == advice.fixed_bytes(state, "replicated", MESH, 2) - advice.saved_bytes(state, "zero1", MESH)


def test_splitting_saves_what_the_shapes_say():
    _, state = abstract_state(synthetic_tiny.get_config())
    parameters = sum(x.size * 4 for x in jax.tree.leaves(state.params))
    assert advice.total_bytes(state.params) == parameters
    share = advice.split_bytes(state.params, MESH)
    assert parameters / 8 < share < parameters / 6  # small arrays stay whole
    rules = advice.by_arithmetic(advice.Rule("replicated", 1e9, 5.0), state, MESH)
    moments = advice.total_bytes(state.opt_state) - advice.split_bytes(state.opt_state, MESH)
    assert rules["replicated"].at_no_picture == 1e9
    assert rules["zero1"].at_no_picture == 1e9 - moments
    assert 1e9 - moments - parameters < rules["fsdp"].at_no_picture < 1e9 - moments
    assert {rule.per_picture for rule in rules.values()} == {5.0}


def test_a_line_that_ends_below_what_is_held_is_not_followed_there():
    _, state = abstract_state(synthetic_tiny.get_config())
    held = advice.fixed_bytes(state, "replicated", MESH, 0)
    assert held == advice.total_bytes(state)
    line = advice.fit("replicated", {1: program(held + 10), 2: program(2 * held + 10)}, fixed=held, held=held)
    assert (line.at_no_picture, line.memory(0), line.memory(2)) == (10, held, 2 * held + 10)
    for name, rule in advice.by_arithmetic(line, state, MESH).items():
        assert rule.memory(0) == advice.fixed_bytes(state, name, MESH, 0) > 0


def test_averages_of_parameters_are_counted_and_split_like_them():
    plain, averaging = synthetic_tiny.get_config(), synthetic_tiny.get_config()
    averaging.train.ema_decay = 0.999
    (_, without), (_, state) = abstract_state(plain), abstract_state(averaging)
    parameters, split = advice.total_bytes(without.params), advice.split_bytes(without.params, MESH)
    more = {
        rule: advice.fixed_bytes(state, rule, MESH, 4) - advice.fixed_bytes(without, rule, MESH, 4) for rule in RULES
    }
    assert more == {"replicated": parameters, "zero1": parameters, "fsdp": split}


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [((10, 8, 6), "take replicated"), ((20, 8, 6), "take zero1: --config.mesh.fsdp=8"), ((20, 20, 6), "take fsdp")],
)
def test_the_first_rule_that_fits_is_taken(sizes, taken):
    rules = [advice.Rule(name, size, 1.0) for name, size in zip(RULES, sizes, strict=True)]
    text = advice.advice(rules, hbm=12, batch_size=16, chips=8, split=8)
    assert text.strip().startswith(taken)
    assert "does not fit" in advice.advice(rules, hbm=5, batch_size=16, chips=8, split=8)
    assert "does not split over 32 chips" in advice.advice(rules, hbm=12, batch_size=16, chips=32, split=8)


def test_programs_that_were_short_of_room_are_told_below_their_table():
    programs = {"one": program(8 * GIB), "two": program(15 * GIB, recomputed=12), "four": TooLarge(22 * GIB, 16 * GIB)}
    lines = advice.program_table(programs).splitlines()
    assert " ".join(lines[1].split()) == "one 4.00 GiB 4.00 GiB 2.000 3.0 all-reduce 4.0 MB"
    assert lines[3] == "four     does not fit"
    assert lines[4:] == [
        "",
        "two: 12 results are computed twice to fit; below is what fits without",
        "four: takes 22.00 GiB at least, 16.00 are there",
    ]
    assert advice.program_table({"one": programs["one"]}).count("\n") == 1


def test_tables_are_aligned():
    lines = advice.table([("a", "long name"), ("longer", "b"), ("last",)]).splitlines()
    assert lines == ["a       long name", "longer  b", "last"]
