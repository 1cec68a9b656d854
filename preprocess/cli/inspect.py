"""``inspect``: what a store holds."""

import json
from pathlib import Path

import click

from preprocess.cli.common import FILE, friendly


@click.command(short_help="What a store holds.")
@click.argument("store", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The index as JSON; preprocess/README.md lists its fields.")
@friendly
def inspect(store: Path, as_json: bool) -> None:
    """Say what STORE holds."""
    from preprocess.inspect import tables
    from preprocess.store import Store

    opened = Store(store)
    if as_json:
        click.echo(json.dumps(opened.document, indent=2, ensure_ascii=False))
        return
    for line in tables.describe(opened):
        click.echo(line)
    tables.show(tables.columns(opened))
    if any(len(each.scales) > 1 for each in opened.superpixel_sets.values()):
        click.echo(f"agreement: mean adjusted Rand index of two scales over up to {tables.COMPARED} images of a split")
