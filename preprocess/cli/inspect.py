"""``inspect``: describe a store."""

from pathlib import Path

import click

from preprocess.cli.common import friendly, store_argument
from preprocess.terminal import say, say_json, say_table


@click.command(short_help="Describe a store.")
@store_argument
@click.option("--json", "as_json", is_flag=True, help="Print the index as JSON; preprocess/README.md lists its fields.")
@friendly
def inspect(store: Path, as_json: bool) -> None:
    """Describe STORE: images, superpixels, splits and columns."""
    from preprocess.inspect import tables
    from preprocess.store import Store

    opened = Store(store)
    if as_json:
        say_json(opened.document)
        return
    for line in tables.describe(opened):
        say(line)
    say_table(tables.columns(opened))
    if any(len(each.scales) > 1 for each in opened.superpixel_sets.values()):
        say(f"agreement: mean adjusted Rand index of two scales over up to {tables.COMPARED} images per split")
