"""``make bench``: time the parts that the project exists for, side by side in one run."""

import click
from rich.console import Console

from tests.benchmarks import listing, loader, methods, segmentation, step, store, superpixels

BENCHMARKS = {
    "superpixels": superpixels.measure,
    "store": store.measure,
    "listing": listing.measure,
    "loader": loader.measure,
    "segmentation": segmentation.measure,
    "step": step.measure,
    "methods": methods.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES, or all. Not tests: the figures depend on the machine and its load."""
    for name in names or BENCHMARKS:
        Console(width=120).print(BENCHMARKS[name]())


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
