"""``datasets``: the known data sets and their local state."""

import click

from preprocess.cli.common import friendly
from preprocess.datasets import DATASETS
from preprocess.parameters import Choice
from preprocess.terminal import say_table, status


@click.command(short_help="List the known data sets and whether they are available locally.")
@click.argument("names", type=Choice(tuple(DATASETS)), nargs=-1, metavar="[NAME]...")
@friendly
def datasets(names: tuple[str, ...]) -> None:
    """Show the data sets: counts, defaults, source, licence, and whether data/raw/NAME holds them."""
    from preprocess.inspect import tables
    from preprocess.raw.catalogue import describe, local_state
    from preprocess.raw.find import RAW

    with status("searching data/raw"):
        rows = [(name, describe(name), local_state(name, RAW / name)) for name in names or DATASETS]
    say_table(tables.datasets(rows))
