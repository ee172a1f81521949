"""Reads a whole data set before training and says what is wrong or unusual and what the pipeline will do about it.

    python -m input_pipeline.check --config=configs/X.py [--output=DIR] [--shards=D] [--draw=N] [--config.data.root=DIR]

Looks at data.train_split and data.eval_split. DIR gets report.json and charts; with --draw=N, if nothing is wrong, the
first N training pictures too, augmented and with their labels, in DIR/drawn (which prepares the split). Exit code 0
when training and evaluation would open them, 1 when something keeps them from it, 2 when there is nothing to read.
"""

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from input_pipeline.annotations import Annotations, select_pictures
from input_pipeline.batching import about_masks
from input_pipeline.categories import other_joint_names
from input_pipeline.charts import bar_chart
from input_pipeline.coco_file import Problem, find_problems, index_of_content
from input_pipeline.drawn_labels import draw_training_pictures
from input_pipeline.findings import (
    Finding,
    consequence,
    find_in_annotations,
    find_in_facts,
    finding,
    inspect_pictures,
    is_as_listed,
)  # fmt: skip
from input_pipeline.loader import FILES, open_split, used_part
from input_pipeline.skipping import NO_NUMBERS, is_too_much, may_skip
from input_pipeline.split_files import SplitFiles, read_content, usable_split
from input_pipeline.statistics import describe, describe_plan
from querypose_jax import command_line
from querypose_jax.errors import UserError
from querypose_jax.files import write_json
from querypose_jax.recipes import get_recipe
from querypose_jax.skeletons import get_skeleton, paired_by_name


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "folder for report.json and charts", **values)
    flags.DEFINE_integer("draw", 0, "training pictures to draw into the report", lower_bound=0, **values)
    flags.DEFINE_integer("shards", 1, "devices the row budgets are for", lower_bound=1, **values)


def main(options: flags.FlagValues) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of any script, on terminals of one
    config, report, stops, unreadable = options.config, {}, False, []
    if options.draw and not options.output:
        raise UserError("command line: --draw needs --output=DIR for the pictures")
    classes: Sequence[str] = ()
    for split in dict.fromkeys((config.data.train_split, config.data.eval_split)):
        try:
            annotations, findings = look_at(config, split, classes)
        except UserError as error:  # the other split may still be read
            unreadable.append(error)
            continue
        is_target = get_recipe(config.data.recipe).is_target(annotations, config.data)
        statistics = describe(annotations, is_target, get_skeleton(config.data.skeleton))
        if split == config.data.train_split:
            classes = annotations.category_names.tolist()
            if is_target.any():
                plan, refused = tried(lambda index=annotations: describe_plan(index, config, options.shards))
                statistics |= {"plan": plan} if plan else {}
                findings += refused
        report[split] = {"findings": [f._asdict() for f in findings], "statistics": statistics}
        stops |= any(f.stops for f in findings)
        print(as_text(split, findings, statistics))
    if options.draw and not (stops or unreadable):
        folder = Path(options.output) / "drawn"
        names = draw_training_pictures(config, options.draw, folder, options.shards)
        report[config.data.train_split]["drawn"] = names
        print(f"{len(names)} training pictures with their labels are in {folder}")
    if options.output:
        write_report(report, Path(options.output))
        print(f"report.json and charts are in {options.output}")
    for error in unreadable:
        print(f"error: {error}", file=sys.stderr)
    return 2 if unreadable else int(stops)


def look_at(config: ConfigDict, split: str, classes: Sequence[str] = ()) -> tuple[Annotations, list[Finding]]:
    """The index of what can be used of a split, and all findings.

    Args:
        config: of the run.
        split: name of the split.
        classes: those of the training split, which another one must have too.

    Raises:
        UserError: there is nothing to read: no file, no JSON.
    """
    data, recipe = config.data, get_recipe(config.data.recipe)
    is_drawn = data.name not in FILES  # drawn pictures cannot be broken: their annotations are looked at only
    files = None if is_drawn else FILES[data.name](data, split, get_skeleton(data.skeleton))
    annotations, findings = (open_split(config, split).annotations, []) if files is None else usable_part(files)
    is_target, mirrored = recipe.is_target(annotations, data), filter(None, [paired_by_name(data.skeleton)])
    findings += find_in_annotations(annotations, is_target, data.max_people, data.keep_empty)
    if may_skip(split):
        findings += [finding("paired by name", [line], "exchanged on mirrored pictures") for line in mirrored]
        if line := about_masks(data, annotations):
            findings.append(finding("no segmentations", [line], "draw them, or label everybody"))
    opened = annotations
    if files is not None:
        facts = inspect_pictures(annotations, files.pictures, data.workers)
        findings += find_in_facts(annotations, files.pictures, facts, may_skip(split))
        opened = select_pictures(annotations, np.flatnonzero(is_as_listed(annotations, facts)))
    if not any(f.stops for f in findings):
        findings += tried(lambda: used_part(config, split, opened, classes))[1]
    return annotations, findings


def usable_part(files: SplitFiles) -> tuple[Annotations, list[Finding]]:
    """Leaves out the entries that keep a file from being read, and reports them."""
    content = read_content(files)
    found = list(find_problems(content.lists, files.skeleton))
    remedy, no_numbers = "correct or remove it", [p.message for p in found if p.is_number]
    report = [
        finding(
            f"unusable {kind}", (p.message for p in found if p.kind == kind and not p.is_number), remedy, stops=True
        )
        for kind in ("image", "annotation")
    ]
    skips = may_skip(files.split)
    stops = not skips or is_too_much(len(no_numbers), len(content.lists["annotations"]))
    report.append(finding(NO_NUMBERS, no_numbers, consequence(remedy, stops, skips), stops))
    others = other_joint_names(content.lists["categories"], files.skeleton)
    report.append(finding("joint with another name in the file", others, "its place in the list counts"))
    report += [finding("read otherwise than it is written", [line], "as it says") for line in content.said]
    report = [f for f in report if f.times]
    if not any(f.stops for f in report):
        opened, refused = tried(lambda: usable_split(files, content, found))
        report += refused
        if opened:
            return opened[0], report
    lists = without(content.lists, found)
    return index_of_content(lists, files.skeleton, files.categories, files.judges_polygons), report


def without(lists: dict, problems: Sequence[Problem]) -> dict:
    """The lists of a file without entries that have a problem, and without the annotations of such images."""
    broken = {(problem.kind, problem.place) for problem in problems}
    images, annotations = (
        [entry for place, entry in enumerate(lists[f"{kind}s"]) if (kind, place) not in broken]
        for kind in ("image", "annotation")
    )
    there = {image["id"] for image in images}
    annotations = [annotation for annotation in annotations if annotation["image_id"] in there]
    return lists | {"images": images, "annotations": annotations}


def tried(do: Callable[[], Any]) -> tuple[Any, list[Finding]]:
    """What a function returns, None where it refuses; and the refusal as a finding."""
    try:
        return do(), []
    except UserError as error:
        return None, [finding("training or evaluation would refuse", [str(error)], "correct it", stops=True)]


def as_text(split: str, findings: list[Finding], statistics: dict) -> str:
    """The report of one split for people."""
    lines = [f"== {split} =="]
    for f in sorted(findings, key=lambda f: not f.stops):
        lines.append(f"{'STOPS  ' if f.stops else ''}{f.kind}: {f.times}  -> {f.consequence}")
        lines += [f"    {example}" for example in f.examples]
    for name, value in statistics.items():
        if isinstance(value, dict) and all(isinstance(entry, int | float) for entry in value.values()):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"    {key}: {entry}" for key, entry in value.items()]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines) + "\n"


def write_report(report: dict, folder: Path) -> None:
    """report.json and, per split, charts of people per picture, heights of people and visibility."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in report.items():
        s = part["statistics"]
        by_people, by_height, visibility = s["pictures by people"], s["people by height"], s["visibility"]
        columns = zip(*visibility.values(), strict=True)
        charts = {
            "people_per_picture": ([str(n) for n in range(len(by_people))], {"pictures": by_people}),
            "height_of_people": ([f"{n / 10:.1f}" for n in range(len(by_height))], {"people": by_height}),
            "visibility": (list(visibility), dict(zip(("unlabelled", "hidden", "visible"), columns, strict=True))),
        }
        for name, (labels, series) in charts.items():
            title = f"{split}: {name.replace('_', ' ')}"
            bar_chart(title, labels, series).save(folder / f"{split}_{name}.png")
    write_json(folder / "report.json", report, indent=2)


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__, define_flags))
