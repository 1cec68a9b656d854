"""``make bench``: time the parts that the project exists for, side by side in one run."""

import click
from rich.console import Console

from tests.benchmarks import (
    listing,
    loader,
    methods,
    recipes,
    segmentation,
    step,
    store,
    sums,
    superpixel_table,
    superpixels,
)
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
# Only by name: the race installs other loaders and takes as long as all others; the tables of all recipes are long.
APART = {"race": race.measure, "recipes": recipes.measure}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(BENCHMARKS | APART)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES, or all but race and recipes. No tests: figures depend on the machine and its load."""
    for name in names or BENCHMARKS:
        Console(width=120).print((BENCHMARKS | APART)[name](), markup=False, soft_wrap=name == "recipes")


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
