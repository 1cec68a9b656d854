"""``python -m lgcoamix compare``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Column, Table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import FORCE, PATH
from preprocess.outputs import COMPARISON, check_output
from preprocess.parameters import Choice, NamedPath
from preprocess.terminal import say, say_table
from preprocess.text import listed

if TYPE_CHECKING:
    from lgcoamix.runs.compare import Comparison, Group, Summary

METRIC = click.option(
    "--metric",
    type=Choice(["last", "best", "median_of_last_10"]),
    default="last",
    show_default=True,
    help="Accuracy to sort by and to plot.",
)


@click.command(short_help="Compare finished runs over seeds: mean, spread, plot.", context_settings=CONTEXT)
@click.argument("runs", nargs=-1, required=True, type=NamedPath(exists=True))
@METRIC
@click.option("--out", type=PATH, help="Write comparison.csv, comparison.json, compare.png here.")
@click.option("--across-protocols", is_flag=True, help="Show runs of different protocols side by side, never merged.")
@FORCE
@friendly
def compare(runs: tuple[Path, ...], metric: str, out: Path | None, across_protocols: bool, force: bool) -> None:
    """Group finished runs by recipe, method and options, and compare them over seeds.

    RUNS are run folders, or folders that contain them. Runs that cannot be compared (other images, classes, data, model
    or optimiser settings, another choice of the best epoch) are refused, and the message names the differences.

    \b
    Examples:
      python -m lgcoamix compare runs/*
      python -m lgcoamix compare runs/sweep --metric median_of_last_10 --out comparison
    """
    from lgcoamix.runs.compare import compare as compare_runs
    from lgcoamix.runs.compare_files import write
    from lgcoamix.runs.finished import run_folders

    if out:
        check_output(out, COMPARISON, force, runs=run_folders(runs))
    comparison = compare_runs(runs, metric, across_protocols)
    print_comparison(comparison)
    if out:
        say("wrote " + ", ".join(map(str, write(comparison, out))))


def print_comparison(comparison: "Comparison") -> None:
    """Show warnings on standard error, and one table for each evaluated split."""
    for line in comparison.warnings:
        say(f"warning: {line}", err=True)
    for split in comparison.splits:
        say_table(_table(comparison, split))
    if comparison.differences:
        for letter, text in comparison.legend().items():
            say(f"protocol {letter}: {text}")
    conditions: dict[str, set[str]] = {}
    for group in comparison.groups:
        for run in group.runs:
            conditions.setdefault(run.conditions, set()).add(group.protocol)
    for line, letters in conditions.items():
        say(f"protocol {', '.join(sorted(letters))}: {line}" if comparison.differences else f"protocol: {line}")
    say(
        "±: sample standard deviation over seeds (- for one seed). best: the epoch chosen on the split "
        f"{_chosen_on(comparison)}. With few seeds, a difference within the spread is no evidence."
    )


def _table(comparison: "Comparison", split: str) -> Table:
    several = bool(comparison.differences)
    names = (*(["protocol"] if several else []), "n (seeds)", "last")
    table = Table(
        Column("group", overflow="fold"), *names, f"best (chosen on {_chosen_on(comparison)})", "median of last 10"
    )
    table.title = f"top-1 (%) on the split {split}, sorted by {comparison.metric.replace('_', ' ')}"
    for group in comparison.ranked(split):
        figures = (_figure(group.summary(split, metric)) for metric in ("last", "best", "median_of_last_10"))
        table.add_row(group.label, *([group.protocol] if several else []), _seeds(group), *figures)
    return table


def _figure(summary: "Summary") -> str:
    spread = "-" if summary.deviation is None else f"{summary.deviation:.2f}"
    return f"{summary.mean:.2f} ± {spread}"


def _seeds(group: "Group") -> str:
    return f"{len(group.runs)} ({listed([run.seed for run in group.runs], 6)})"


def _chosen_on(comparison: "Comparison") -> str:
    names = dict.fromkeys(protocol["best_chosen_on"] for protocol in comparison.protocols.values())
    return " or ".join(names)
