"""``datasets``: what can be built, and what of it is here."""

import click
from rich.console import Console

from preprocess.cli.common import friendly
from preprocess.datasets import DATASETS


@click.command(short_help="The data sets that are known, and which are here.")
@click.argument("names", type=click.Choice(tuple(DATASETS)), nargs=-1, metavar="[NAME]...")
@friendly
def datasets(names: tuple[str, ...]) -> None:
    """Show the data sets: counts, defaults, source, terms, and whether data/raw/NAME holds them."""
    from preprocess.inspect import tables
    from preprocess.raw.catalogue import describe, local_state
    from preprocess.raw.find import RAW

    with Console(stderr=True).status("looking into data/raw"):
        rows = [(name, describe(name), local_state(name, RAW / name)) for name in names or DATASETS]
    tables.show(tables.datasets(rows))
