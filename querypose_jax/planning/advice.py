"""From compiled programs to advice: what a picture and each rule of splitting take, and which rule to take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from querypose_jax.checkpoints.train_state import TrainState
from querypose_jax.devices import sharding
from querypose_jax.planning.programs import Program, TooLarge

GIB = 2**30


@dataclass(frozen=True)
class Rule:
    """What a rule of sharding.RULES costs, per chip, in bytes: a straight line, and what it never goes below."""

    name: str
    at_no_picture: float
    per_picture: float
    held: float = 0
    """What lies there between two steps; the line, drawn through programs with pictures, may end below it."""

    def memory(self, pictures: float) -> float:
        """Bytes with so many pictures per chip."""
        return max(self.at_no_picture + self.per_picture * pictures, self.held)

    def largest_batch(self, hbm: float) -> int:
        """Pictures per chip that fit."""
        return max(int((hbm - self.at_no_picture) // self.per_picture), 0)


def fit(rule: str, programs: Mapping[int, Program | TooLarge], fixed: float, held: float = 0) -> Rule:
    """The straight line through what training with the fewest and the most pictures takes.

    A program that was short of room says what there was, not what it needs (`is_squeezed`). Where fewer than two are
    left, the line goes from `fixed`, the bytes that no picture changes, through the one with the fewest pictures.
    """
    at_ease = {pictures: program.memory for pictures, program in programs.items() if not is_squeezed(program)}
    few, many = min(programs), max(at_ease, default=0)
    if few in at_ease and few < many:
        slope = (at_ease[many] - at_ease[few]) / (many - few)
    else:
        slope = (programs[few].memory - fixed) / few
    return Rule(rule, programs[few].memory - slope * few, slope, held)


def is_squeezed(program: Program | TooLarge) -> bool:
    """The compiler had too little room: it computes results twice, or gave up."""
    return isinstance(program, TooLarge) or program.recomputed > 0


def fixed_bytes(state: TrainState, rule: str, mesh: Mesh, gradient_bytes: int) -> float:
    """What a chip holds whatever the number of pictures: parameters, their averages, moments, statistics and, all at
    once, gradients.

    Args:
        state: shapes.
        rule: of sharding.RULES.
        mesh: over which it splits.
        gradient_bytes: of one number; 0 for what is held between two steps.
    """
    gradients = sum(x.size for x in jax.tree.leaves(state.params)) * gradient_bytes
    return total_bytes(state) + gradients - saved_bytes(state, rule, mesh)


def by_arithmetic(replicated: Rule, state: TrainState, mesh: Mesh) -> dict[str, Rule]:
    """What every rule takes, by what splitting saves."""
    return {
        name: Rule(name, replicated.at_no_picture - saved, replicated.per_picture, replicated.held - saved)
        for name, saved in ((name, saved_bytes(state, name, mesh)) for name in sharding.RULES)
    }


def saved_bytes(state: TrainState, rule: str, mesh: Mesh) -> int:
    """What a rule saves, by shapes; FSDP needs room for the two largest parameters while they are used."""
    trees = {"optimizer": state.opt_state, "parameters": (state.params, state.ema)}
    kinds = sharding.RULES[rule]
    saved = sum(total_bytes(trees[kind]) - split_bytes(trees[kind], mesh) for kind in kinds)
    largest = sorted(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))[-2:]
    return saved - (sum(largest) if "parameters" in kinds else 0)


def total_bytes(tree: PyTree) -> int:
    """Bytes of all arrays."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def split_bytes(tree: PyTree, mesh: Mesh) -> int:
    """Bytes on one chip where everything is split that can be."""
    shapes = ((sharding.split_array(x.shape, mesh).shard_shape(x.shape), x.dtype) for x in jax.tree.leaves(tree))
    return sum(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype in shapes)


def program_table(programs: Mapping[str, Program | TooLarge]) -> str:
    """One line per compiled program, and one below for each that was short of room."""
    rows = [("program", "arguments", "temporaries", "TFLOP", "GB read+written", "messages")]
    notes = []
    for name, program in programs.items():
        if isinstance(program, TooLarge):
            rows.append((name, "does not fit"))
            notes.append(
                f"{name}: takes {program.memory / GIB:.2f} GiB at least, {program.available / GIB:.2f} are there"
            )
            continue
        messages = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sorted(program.collectives.items()))
        sizes = (f"{size / GIB:.2f} GiB" for size in (program.arguments, program.temporaries))
        rows.append((name, *sizes, f"{program.flops / 1e12:.3f}", f"{program.bytes_accessed / 1e9:.1f}", messages))
        if program.recomputed:
            notes.append(f"{name}: {program.recomputed} results are computed twice to fit; below is what fits without")
    return "\n".join([table(rows), *(["", *notes] if notes else [])])


def rule_table(rules: Iterable[Rule], hbm: float, pictures: float, split: int) -> str:
    """One line per rule: memory, whether it fits, the largest batch."""
    rows = [("parameters", "split over", "without pictures", "per picture", "fits", "largest batch per chip")]
    for rule in rules:
        fits = "yes" if rule.memory(max(pictures, 1)) <= hbm else "no"
        over = str(split) if sharding.RULES[rule.name] else "-"
        memory = (f"{size / GIB:.2f} GiB" for size in (rule.memory(0), rule.per_picture))
        rows.append((rule.name, over, *memory, fits, str(rule.largest_batch(hbm))))
    return "\n" + table(rows)


def advice(rules: list[Rule], hbm: float, batch_size: int, chips: int, split: int) -> str:
    """Which rule to take: the first one that fits, since each next one sends more."""
    pictures = max(batch_size / chips, 1)
    fitting = next((rule for rule in rules if rule.memory(pictures) <= hbm), None)
    if fitting is None:
        return f"\ndata.batch_size={batch_size} does not fit: take more chips, a smaller canvas or remat"
    text = f"\ntake {fitting.name}"
    if sharding.RULES[fitting.name]:
        text += f": --config.mesh.fsdp={split} --config.mesh.parameters={fitting.name}"
    if batch_size % chips:
        text += (
            f"; data.batch_size={batch_size} does not split over {chips} chips: take a multiple of {chips} up to "
            f"{chips * fitting.largest_batch(hbm)}"
        )
    return text


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of equal width, two spaces between them; a row may end early."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
