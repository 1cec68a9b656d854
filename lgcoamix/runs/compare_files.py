"""Write a comparison: a table of runs, a JSON file of groups, a plot."""

import json
from pathlib import Path
from typing import Any

from lgcoamix.runs.compare import Comparison, Group
from lgcoamix.runs.finished import SUMMARIES, Run
from preprocess.files import write_whole
from preprocess.outputs import COMPARISON, making
from preprocess.text import to_csv

FILES = ("comparison.csv", "comparison.json", "compare.png")


def write(comparison: Comparison, out: Path) -> list[Path]:
    """Write ``comparison.csv`` (one row per run), ``comparison.json`` (groups) and ``compare.png``.

    Returns
    -------
    Paths of the files.
    """
    from lgcoamix.runs.compare_plot import plot_comparison  # matplotlib takes a second to import

    contents = {
        "comparison.json": (json.dumps(_document(comparison), indent=2, ensure_ascii=False) + "\n").encode(),
        "comparison.csv": _table(comparison).encode(),
        "compare.png": plot_comparison(comparison),
    }
    with making(out, COMPARISON) as aside:
        for name, content in contents.items():
            write_whole(aside / name, content)
    return [out / name for name in FILES]


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "metric": comparison.metric,
        "spread": "sample standard deviation over seeds, null for one seed",
        "groups": [_describe(group) for group in comparison.groups],
        "protocols": dict(comparison.protocols),
        "differences": [part.path for part in comparison.differences],
        "warnings": list(comparison.warnings),
    }


def _describe(group: Group) -> dict[str, Any]:
    figures = {}
    for split in ("test", "val"):
        summaries = {metric: group.summary(split, metric) for metric in SUMMARIES}
        if all(summaries.values()):
            figures[f"{split}_top1"] = {
                metric: {"mean": summary.mean, "deviation": summary.deviation} for metric, summary in summaries.items()
            }
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
