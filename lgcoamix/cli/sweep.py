"""``python -m lgcoamix sweep``."""

from pathlib import Path

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.compare import METRIC, print_comparison
from lgcoamix.errors import RunError
from lgcoamix.settings.mixers import METHOD_OPTIONS


@click.command(short_help="Train methods over seeds, and compare them.", context_settings=CONTEXT)
@click.option(
    "--shards", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The store of all."
)
@click.option("--mixers", metavar="NAME,NAME", help=f"Of {', '.join(METHOD_OPTIONS)}, with their default options.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="NAME=OPTIONS",
    help="One more to train, with options of its own; repeatable.",
)
@click.option("--seeds", default="0", show_default=True, metavar="N,N|LO:HI", help="0:3 are 0, 1 and 2.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folders go to OUT/NAME-sSEED.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time; they share the cores."
)
@METRIC
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
    options: tuple[str, ...],
) -> None:
    """Train every method with every seed, then compare them. Options of train, for all of them, follow after --.

    The same command continues an interrupted sweep and takes finished runs as they are. With --jobs 2 or more, what a
    run says goes to OUT/NAME-sSEED.log. At the end OUT holds comparison.csv, comparison.json and compare.png.

    \b
    Examples:
      python -m lgcoamix sweep --shards data/cub.h5 --mixers none,cutmix,lgcoamix --seeds 0:3 --out runs/sweep
      python -m lgcoamix sweep --shards data/cub.h5 --mixers none --seeds 0:3 --out runs/scores \\
          --cell sum="--mixer lgcoamix" --cell pre="--mixer lgcoamix --set mixer.score=pre_norm" -- --epochs 50
    """
    from lgcoamix.runs.compare import compare
    from lgcoamix.runs.compare_files import check_writable, write
    from lgcoamix.runs.sweep import check_train_options, make_cells, parse_seeds, parse_variants, run_cells

    check_train_options(options)
    todo = make_cells(shards, parse_variants(mixers, cells), parse_seeds(seeds), out, options)
    check_writable(out, own=True)
    failures = run_cells(todo, jobs, click.echo)
    failed = {failure.cell for failure in failures}
    finished = [cell.folder for cell in todo if cell not in failed]
    if finished:
        # Cells may differ in what they were told to: such groups are shown with their protocols, not refused.
        comparison = compare(finished, metric, across_protocols=True)
        print_comparison(comparison)
        click.echo("wrote " + ", ".join(map(str, write(comparison, out))))
    if failures:
        lines = "".join(f"\n  {failure}" for failure in failures)
        raise RunError(
            f"{len(failures)} of {len(todo)} cells failed:{lines}\n"
            "mend the cause and run the sweep again: finished cells are kept"
        )
