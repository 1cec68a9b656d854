"""``export``: a store as plain files."""

import functools
from pathlib import Path

import click

from preprocess.cli.common import FILE, friendly, progress_bar


@click.command(short_help="A store as PNG files and a table of labels.")
@click.argument("store", type=FILE)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@friendly
def export(store: Path, folder: Path) -> None:
    """Write the images and label maps of STORE as PNG files to FOLDER, with labels.csv."""
    from preprocess.inspect.export import export as write_files
    from preprocess.store import Store

    opened = Store(store)
    with progress_bar("images") as progress:
        total = sum(len(split) for split in opened.splits.values())
        bar = progress.add_task(f"{store} -> {folder}", total=total)
        write_files(opened, folder, functools.partial(progress.advance, bar))
    maps = sum((len(split.paths) - 1) * len(split) for split in opened.splits.values())
    click.echo(f"wrote {total} images and {maps} maps to {folder}")
