"""``python -m lgcoamix sweep``."""

from pathlib import Path

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.compare import METRIC, print_comparison, write_comparison
from lgcoamix.cli.options import PATH, PLOTS, SHARDS
from lgcoamix.errors import RunError
from lgcoamix.settings.mixers import METHOD_OPTIONS
from preprocess.outputs import COMPARISON, check_output
from preprocess.terminal import say


@click.command(short_help="Train several methods with several seeds, and compare them.", context_settings=CONTEXT)
@SHARDS
@click.option("--mixers", metavar="NAME,NAME", help=f"Methods, as --mixer of train: {', '.join(METHOD_OPTIONS)}.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="NAME=OPTIONS",
    help="One more group of runs, with its own options of train; repeatable.",
)
@click.option("--seeds", default="0", show_default=True, metavar="N,N|LO:HI", help="0:3 means 0, 1 and 2.")
@click.option("--out", type=PATH, required=True, help="Run folders go to OUT/NAME-sSEED.")
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Runs in parallel; they share the cores."
)
@METRIC
@PLOTS
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF TRAIN]")
@friendly
def sweep(
    shards: Path,
    mixers: str | None,
    cells: tuple[str, ...],
    seeds: str,
    out: Path,
    jobs: int,
    metric: str,
    plots: str,
    options: tuple[str, ...],
) -> None:
    """Train every method with every seed, then compare them. Options after -- are passed to every training.

    Rerun the same command to continue an interrupted sweep; finished runs are left unchanged. With --jobs 2 or more,
    the output of a run goes to OUT/NAME-sSEED.log. At the end OUT holds what compare writes, without plots after
    -- --no-pictures.

    \b
    Examples:
      python -m lgcoamix sweep --shards data/cub.h5 --mixers none,cutmix,lgcoamix --seeds 0:3 --out runs/sweep
      python -m lgcoamix sweep --shards data/cub.h5 --mixers none --seeds 0:3 --out runs/scores \\
          --cell sum="--mixer lgcoamix" --cell pre="--mixer lgcoamix --set mixer.score=pre_norm" -- --epochs 50
    """
    from lgcoamix.runs.compare import compare
    from lgcoamix.runs.sweep import (
        check_places,
        check_train_options,
        make_cells,
        parse_seeds,
        parse_variants,
        run_cells,
    )

    check_train_options(options)
    if plots != "png":
        options = ("--plots", plots, *options)
    todo = make_cells(shards, parse_variants(mixers, cells), parse_seeds(seeds), out, options)
    check_output(out, COMPARISON, None, (shards, shards.with_suffix(".shards")), beside_others=True)
    check_places(todo)
    failures = run_cells(todo, jobs, say)
    failed = {failure.cell for failure in failures}
    finished = [cell.folder for cell in todo if cell not in failed]
    if finished:
        # Cells may have different protocols on purpose: show them side by side instead of refusing.
        comparison = compare(finished, metric, across_protocols=True)
        print_comparison(comparison)
        write_comparison(comparison, out, None if "--no-pictures" in options else plots)
    if failures:
        lines = "".join(f"\n  {failure}" for failure in failures)
        raise RunError(
            f"{len(failures)} of {len(todo)} cells failed:{lines}\n"
            "fix the cause and rerun the sweep: finished cells are kept"
        )
