"""``python -m lgcoamix compare``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich.table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import FORCE, PATH, PLOTS
from lgcoamix.runs.finished import SUMMARIES
from preprocess.outputs import COMPARISON, check_output
from preprocess.parameters import Choice, NamedPath
from preprocess.terminal import say, say_json, say_table, tell
from preprocess.text import to_csv

if TYPE_CHECKING:
    from lgcoamix.runs.by_class import ByClass
    from lgcoamix.runs.compare import Comparison
    from lgcoamix.runs.tables import Table

METRIC = click.option(
    "--metric",
    type=Choice(SUMMARIES),
    default="last",
    show_default=True,
    help="Accuracy to sort by, to plot, and to take differences of.",
)


@click.command(short_help="Compare finished runs over seeds: mean, spread, paired test.", context_settings=CONTEXT)
@click.argument("runs", nargs=-1, required=True, type=NamedPath(exists=True))
@METRIC
@click.option(
    "--against", metavar="GROUP", help="Group that the others are compared with, seed by seed.  [default: none]"
)
@click.option(
    "--by-class",
    metavar="GROUP",
    help="Show the differences of this group to that of --against class by class instead; evaluate every run first.",
)
@click.option(
    "--format",
    "form",
    type=Choice(["markdown", "latex", "csv", "json"]),
    help="Print tables for a README, a paper (booktabs), or other programs.  [default: for the terminal]",
)
@click.option("--out", type=PATH, help="Write comparison.csv, comparison.json, curves.csv and plots here.")
@click.option("--across-protocols", is_flag=True, help="Show runs of different protocols side by side, never merged.")
@PLOTS
@FORCE
@friendly
def compare(
    runs: tuple[Path, ...],
    metric: str,
    against: str | None,
    by_class: str | None,
    form: str | None,
    out: Path | None,
    across_protocols: bool,
    plots: str,
    force: bool,
) -> None:
    """Group finished runs by recipe, method and options, and compare them over seeds.

    RUNS are run folders, or folders that contain them. Runs that cannot be compared (other images, classes, data, model
    or optimiser settings, another choice of the best epoch) are refused, and the message names the differences.

    \b
    Examples:
      python -m lgcoamix compare runs/sweep
      python -m lgcoamix compare runs/sweep --metric median_of_last_10 --out comparison
      python -m lgcoamix compare runs/sweep --against cutmix --format latex
      python -m lgcoamix compare runs/sweep --by-class lgcoamix --format csv
    """
    from lgcoamix.runs import by_class as classes
    from lgcoamix.runs.compare import compare as compare_runs
    from lgcoamix.runs.finished import run_folders

    if out:
        check_output(out, COMPARISON, force, runs=run_folders(runs))
    comparison = compare_runs(runs, metric, across_protocols, against)
    found = None if by_class is None else classes.by_class(comparison, by_class)
    _warn(comparison)
    if found:
        _print([classes.table(found, shortened=form is None)], classes.records(found), form)
    elif form == "json":
        from lgcoamix.runs.compare_files import document

        say_json(document(comparison))
    else:
        _print_groups(comparison, form)
    if out:
        write_comparison(comparison, out, plots, found, quietly=form is not None)


def print_comparison(comparison: "Comparison") -> None:
    """Show warnings on standard error, and one table for each evaluated split."""
    _warn(comparison)
    _print_groups(comparison, None)


def write_comparison(
    comparison: "Comparison", out: Path, plots: str | None, found: "ByClass | None" = None, quietly: bool = False
) -> None:
    """Write the files of a comparison, and say which; on standard error if ``quietly``."""
    from lgcoamix.runs.compare_files import write

    files, missing = write(comparison, out, found, plots)
    for line in missing:
        tell(f"warning: {line}")
    (tell if quietly else say)("wrote " + ", ".join(map(str, files)))


def _warn(comparison: "Comparison") -> None:
    for line in comparison.warnings:
        tell(f"warning: {line}")


def _print_groups(comparison: "Comparison", form: str | None) -> None:
    from lgcoamix.runs.compare_table import records, table

    tables = [table(comparison, split) for split in comparison.splits]
    _print(tables, [row for split in comparison.splits for row in records(comparison, split)], form)


def _print(tables: "list[Table]", records: list[dict[str, object]], form: str | None) -> None:
    """Print texts for people, or the figures behind them for programs."""
    from lgcoamix.runs.tables import to_latex, to_markdown

    if form == "json":
        say_json(records)
    elif form == "csv":
        say(to_csv(records).removesuffix("\n"))
    elif form is not None:
        writer = {"markdown": to_markdown, "latex": to_latex}[form]
        say("\n\n".join(writer(table) for table in tables))
    else:
        for each in tables:
            say_table(_for_terminal(each))
        for line in dict.fromkeys(note for each in tables for note in each.notes):
            say(line)


def _for_terminal(table: "Table") -> rich.table.Table:
    first, *others = table.columns
    shown = rich.table.Table(rich.table.Column(first, overflow="fold"), *others, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    return shown
