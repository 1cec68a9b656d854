"""``make bench``: time the parts that the project exists for, side by side in one run."""

import click
from rich.console import Console

from tests.benchmarks import listing, loader, methods, segmentation, step, store, sums, superpixel_table, superpixels
from tests.benchmarks.race import measure as race

BENCHMARKS = {
    "superpixels": superpixels.measure,
    "superpixel-table": superpixel_table.measure,
    "store": store.measure,
    "listing": listing.measure,
    "loader": loader.measure,
    "segmentation": segmentation.measure,
    "step": step.measure,
    "methods": methods.measure,
    "sums": sums.measure,
}
RACE = {"race": race.measure}  # installs other loaders and takes as long as all others: only by its name


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(BENCHMARKS | RACE)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES, or all but the race. Not tests: the figures depend on the machine and its load."""
    for name in names or BENCHMARKS:
        Console(width=120).print((BENCHMARKS | RACE)[name]())


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
