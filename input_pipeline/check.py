"""Reads a whole data set before training and says what is wrong or unusual and what the pipeline will do about it.

    python -m input_pipeline.check --config=configs/X.py [--output=DIR] [--shards=D] [--config.data.root=DIR]

Looks at data.train_split and data.eval_split. DIR gets report.json and charts. Exit code 1 when something keeps the
data set from being prepared, 2 when there is nothing to read.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from input_pipeline.annotations import Annotations
from input_pipeline.charts import bar_chart
from input_pipeline.coco_file import find_problems, index_of_content
from input_pipeline.findings import Finding, consequence, find_in_annotations, find_in_pictures, finding
from input_pipeline.loader import FILES, open_split
from input_pipeline.skipping import NO_NUMBERS, is_too_much, may_skip
from input_pipeline.split_files import SplitFiles, read_content
from input_pipeline.statistics import describe, describe_plan
from querypose_jax import command_line
from querypose_jax.files import write_json
from querypose_jax.recipes import get_recipe
from querypose_jax.skeletons import get_skeleton


def define_flags(**values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "folder for report.json and charts", **values)
    flags.DEFINE_integer("shards", 1, "devices the row budgets are for", lower_bound=1, **values)


def main(options: flags.FlagValues) -> int:
    config, report, stops = options.config, {}, False
    for split in dict.fromkeys((config.data.train_split, config.data.eval_split)):
        annotations, findings = look_at(config, split)
        is_target = get_recipe(config.data.recipe).is_target(annotations, config.data)
        statistics = describe(annotations, is_target, get_skeleton(config.data.skeleton))
        if split == config.data.train_split and is_target.any():
            statistics["plan"] = describe_plan(annotations, config, options.shards)
        report[split] = {"findings": [f._asdict() for f in findings], "statistics": statistics}
        stops |= any(f.stops for f in findings)
        print(as_text(split, findings, statistics))
    if options.output:
        write_report(report, Path(options.output))
    return int(stops)


def look_at(config: ConfigDict, split: str) -> tuple[Annotations, list[Finding]]:
    """The index of what can be used of a split, and all findings.

    Raises:
        UserError: there is nothing to read: no file, no JSON.
    """
    data, recipe = config.data, get_recipe(config.data.recipe)
    if data.name not in FILES:  # drawn pictures cannot be broken: their annotations are looked at, not their files
        annotations = open_split(config, split).annotations
        return annotations, find_in_annotations(annotations, recipe.is_target(annotations, data), data.max_people)
    files = FILES[data.name](data, split, get_skeleton(data.skeleton))
    annotations, problems = usable_part(files)
    is_target = recipe.is_target(annotations, data)
    findings = problems + find_in_annotations(annotations, is_target, data.max_people)
    return annotations, findings + find_in_pictures(annotations, files.pictures, data.workers, may_skip(split))


def usable_part(files: SplitFiles) -> tuple[Annotations, list[Finding]]:
    """Leaves out the entries that keep a file from being read, and reports them."""
    content = read_content(files)
    found = list(find_problems(content, files.skeleton))
    broken = {(problem.kind, problem.place) for problem in found}
    kept = {
        f"{kind}s": [entry for place, entry in enumerate(content[f"{kind}s"]) if (kind, place) not in broken]
        for kind in ("image", "annotation")
    }
    remedy, no_numbers = "correct or remove it", [p.message for p in found if p.is_number]
    report = [
        finding(
            f"unusable {kind}", (p.message for p in found if p.kind == kind and not p.is_number), remedy, stops=True
        )
        for kind in ("image", "annotation")
    ]
    skips = may_skip(files.split)
    stops = not skips or is_too_much(len(no_numbers), len(content["annotations"]))
    report.append(finding(NO_NUMBERS, no_numbers, consequence(remedy, stops, skips), stops))
    index = index_of_content(content | kept, files.skeleton, files.categories, files.judges_polygons)
    return index, [f for f in report if f.times]


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
