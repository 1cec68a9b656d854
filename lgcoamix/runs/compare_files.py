"""Write a comparison: a table of runs, a JSON file of groups, plots, tables of curves and of classes."""

import json
from pathlib import Path
from typing import Any

from lgcoamix.runs import by_class, compare_table, curves
from lgcoamix.runs.by_class import ByClass
from lgcoamix.runs.compare import Comparison, Group
from lgcoamix.runs.finished import SUMMARIES, Run
from preprocess.files import write_whole
from preprocess.outputs import COMPARISON, making
from preprocess.text import to_csv


def write(
    comparison: Comparison, out: Path, classes: ByClass | None = None, form: str | None = "png"
) -> tuple[list[Path], list[str]]:
    """Write a folder.

    - ``comparison.csv``: one row per run; ``comparison.json``: groups; ``compare``, their plot.
    - ``curves.csv`` and their plot, of the runs that have ``metrics.csv``.
    - ``classes.csv``: differences by class, if they are given.

    Parameters
    ----------
    form : of the plots: ``png``, ``pdf`` or ``svg``; None draws none, and needs no matplotlib.

    Returns
    -------
    Paths of the files, and a line for each run without curves.
    """
    split = comparison.splits[0]
    found, missing = curves.read_curves(comparison, split)
    contents = {
        "comparison.json": (json.dumps(document(comparison), indent=2, ensure_ascii=False) + "\n").encode(),
        "comparison.csv": _table(comparison).encode(),
    }
    drawn = found if any(curve.values["top1"] for curve in found) else []
    if drawn:
        contents["curves.csv"] = to_csv(curves.records(drawn, split)).encode()
    if form:
        contents |= _plots(comparison, drawn, form)
    if classes is not None:
        contents["classes.csv"] = to_csv(by_class.records(classes)).encode()
    with making(out, COMPARISON) as aside:
        for name, content in contents.items():
            write_whole(aside / name, content)
    return [out / name for name in contents], missing


def _plots(comparison: Comparison, drawn: list[curves.Curve], form: str) -> dict[str, bytes]:
    from lgcoamix.runs.compare_plot import plot_comparison  # matplotlib takes a second to import
    from lgcoamix.runs.curves_plot import plot_curves
    from preprocess.inspect.drawing import rendered

    plots = {f"compare.{form}": rendered(plot_comparison(comparison), form)}
    if drawn:
        figure = plot_curves(drawn, comparison.splits[0], bool(comparison.differences))
        plots[f"curves.{form}"] = rendered(figure, form)
    return plots


def document(comparison: Comparison) -> dict[str, Any]:
    """All figures of a comparison as plain data, unrounded."""
    return {
        "metric": comparison.metric,
        "spread": "sample standard deviation over seeds, null for one seed",
        "difference": "of the metric, paired by seed; low and high: 95 % interval of Student's t; p: two-sided paired "
        "t-test, not corrected for the number of groups",
        "groups": [_describe(comparison, group) for group in comparison.groups],
        "protocols": dict(comparison.protocols),
        "differences": [part.path for part in comparison.differences],
        "warnings": list(comparison.warnings),
    }


def _describe(comparison: Comparison, group: Group) -> dict[str, Any]:
    figures = {}
    for split in ("test", "val"):
        summaries = {metric: group.summary(split, metric) for metric in SUMMARIES}
        if summaries["last"]:
            figures[f"{split}_top1"] = {
                metric: summary and {"mean": summary.mean, "deviation": summary.deviation}
                for metric, summary in summaries.items()
            }
            pair, other = comparison.paired(group, split), comparison.references.get(group.protocol)
            figures[f"{split}_difference"] = compare_table.describe_pair(pair, other, comparison.metric)
    return {
        "group": group.label,
        "recipe": group.recipe,
        "method": group.method,
        "options": dict(group.options),
        "protocol": group.protocol,
        "seeds": [run.seed for run in group.runs],
        "runs": [str(run.folder) for run in group.runs],
        **figures,
    }


def _table(comparison: Comparison) -> str:
    return to_csv([_row(group, run) for group in comparison.groups for run in group.runs])


def _row(group: Group, run: Run) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "group": group.label,
        "recipe": run.recipe,
        "method": run.method,
        "superpixels": run.superpixels,
        "seed": run.seed,
        "protocol": group.protocol,
        **{name: value for name, value in run.results.items() if not isinstance(value, list) and name != "protocol"},
        **{f"mixer.{name}": value for name, value in run.options.items()},
        **run.surroundings,
    }
