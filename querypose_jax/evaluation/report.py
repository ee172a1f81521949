"""DIR/eval/STEP/index.html: the numbers of an evaluation, the curves of the run and pictures, on one page. Its tables
for a terminal.

The page names its pictures by relative paths and loads nothing else: it opens from a disk, without a server.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from querypose_jax.evaluation.breakdown import breakdown_table, read_breakdown
from querypose_jax.evaluation.coco import COLUMNS, metrics_table
from querypose_jax.evaluation.curves import curve, shares
from querypose_jax.evaluation.gallery import BEST, WORST
from querypose_jax.evaluation.operating import Operating, threshold_line
from querypose_jax.files import write_text

NAME = "index.html"
CURVES = ("keypoint/AP", "box/AP", "loss/total", "learning_rate", "grad_norm", "images_per_second")
SECTIONS = (
    (WORST, "Worst pictures", "Left the labels, right the predictions. “nobody”: a prediction that fits no label."),
    (BEST, "Best pictures", "The same, from the other end."),
    ("pictures", "First pictures", "Predictions as <code>--mode=predict</code> draws them."),
)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1e2026; background: #fafafa; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; }
h1, h2 { font-weight: 600; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem; text-align: right; }
th { font-weight: 500; color: #5b606b; } tbody th { text-align: left; }
tr + tr td, tbody th { border-top: 1px solid #ddd; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.wide { grid-template-columns: repeat(auto-fill, minmax(30rem, 1fr)); }
figure { margin: 0; } figcaption, p { color: #5b606b; font-size: .9rem; } img { width: 100%; border-radius: 4px; }
svg { width: 100%; background: white; border: 1px solid #e4e4e8; border-radius: 4px; }
"""


def write_report(
    folder: Path, metrics: dict[str, float], log: Path | None = None, points: Mapping[str, Operating] | None = None
) -> Path:
    """Writes folder/index.html and returns its path.

    Args:
        folder: of an evaluated step; holds pictures/, worst/ and best/.
        metrics: "keypoint/AP" and so on, 0 to 1, -1 where nothing is measured.
        log: metrics.jsonl of the run; None or a file that is missing: a page without curves.
        points: what each threshold would give, by class, see `operating_points`.
    """
    logged = read_log(log) if log and log.exists() else []
    body = [
        f"<h1>Evaluation of step {escape(folder.name)}</h1>",
        f"<p>{escape(str(folder))}</p>",
        table(metrics),
        *thresholds(points or {}),
        *curves(logged),
        *(section for name, title, text in SECTIONS if (section := pictures(folder, name, title, text))),
    ]
    head = f'<meta charset="utf-8"><title>Step {escape(folder.name)}</title><style>{STYLE}</style>'
    path = folder / NAME
    lines = ["<!doctype html>", "<html lang=en>", f"<head>{head}</head>", "<body>", *body, "</body>", "</html>", ""]
    write_text(path, "\n".join(lines))
    return path


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; one that a crash cut off is left out."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def table(metrics: dict[str, float]) -> str:
    """Precision and recall, a row per kind ("keypoint/AP" is of kind "keypoint"), 0 to 100."""
    columns = [column for block in COLUMNS for column in block]
    kinds = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics if name.rpartition("/")[2] in columns))
    rows = []
    for kind in kinds:
        values = [metrics.get(f"{kind}/{column}", -1.0) for column in columns]
        cells = "".join(f"<td>{'–' if value < 0 else f'{100 * value:.1f}'}</td>" for value in values)
        rows.append(f"<tr><th>{escape(kind)}</th>{cells}</tr>")
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def thresholds(points: Mapping[str, Operating]) -> list[str]:
    """A section with precision, recall and F1 against the score, a figure for each class."""
    figures = []
    for name, at in points.items():
        lines = {
            kind: list(zip(at.scores.tolist(), values.tolist(), strict=True))
            for kind, values in (("precision", at.precision), ("recall", at.recall), ("F1", at.f1))
        }
        caption = escape(name or "all") + f": best F1 {100 * at.f1[at.best]:.1f} at {at.threshold:.3f}"
        figures.append(f"<figure>{shares(lines, at.threshold)}<figcaption>{caption}</figcaption></figure>")
    text = "<p>Against the score from which people are reported, at OKS 0.5. Predict takes the dashed one.</p>"
    return ["<h2>Threshold</h2>", text, f"<div class=grid>{''.join(figures)}</div>"] if figures else []


def curves(logged: Sequence[dict[str, float]]) -> list[str]:
    """A section with a curve for each of CURVES that has two points or more."""
    figures = []
    for name in CURVES:
        points = [(line["step"], line[name]) for line in logged if isinstance(line.get(name), int | float)]
        if len(points) > 1:
            figures.append(f"<figure>{curve(points)}<figcaption>{escape(name)}</figcaption></figure>")
    return ["<h2>Curves</h2>", f"<div class=grid>{''.join(figures)}</div>"] if figures else []


def pictures(folder: Path, name: str, title: str, text: str) -> str:
    """A section with the pictures of folder/name; nothing where there are none."""
    paths = sorted((folder / name).glob("*.jpg"))
    figures = "".join(figure(f"{name}/{path.name}", path.stem.replace("_", ": picture ")) for path in paths)
    kind = "grid" if name == "pictures" else "grid wide"
    return f"<h2>{title}</h2><p>{text}</p><div class='{kind}'>{figures}</div>" if paths else ""


def figure(address: str, caption: str) -> str:
    """A picture that opens in full when clicked at."""
    address, caption = escape(address), escape(caption)
    picture = f'<a href="{address}"><img loading=lazy src="{address}" alt="{caption}"></a>'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def tables(folder: Path, metrics: dict[str, float]) -> str:
    """The same numbers for a terminal: the metrics, the breakdown of `folder` and what pruning left to do."""
    texts = [metrics_table(metrics)]
    if (numbers := read_breakdown(folder)) is not None:
        texts.append(breakdown_table(numbers))
    if line := threshold_line(metrics):
        texts.append(line)
    if "pruning/queries" in metrics:
        texts.append(
            f"pose stages ran for {metrics['pruning/queries']:.1f} queries of a picture; "
            f"{metrics['pruning/widened']:.0%} of the pictures needed more than the first chunk"
        )
    return "\n\n".join(texts)
