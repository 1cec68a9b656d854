"""``export``: write a store as plain files."""

from pathlib import Path

import click

from preprocess.cli.common import force_option, friendly, store_argument
from preprocess.parameters import NamedPath
from preprocess.terminal import progress_bars, say


@click.command(short_help="Write images and maps as PNG files, with a table of labels.")
@store_argument
@click.argument("folder", type=NamedPath(file_okay=False))
@force_option
@friendly
def export(store: Path, folder: Path, force: bool) -> None:
    """Write the images and label maps of STORE as PNG files to FOLDER, with labels.csv."""
    from preprocess.inspect.export import export as write_files
    from preprocess.outputs import PLAIN_FILES, check_output
    from preprocess.store import Store

    opened = Store(store)
    check_output(folder, PLAIN_FILES, force, opened.files)
    total = sum(len(split) for split in opened.splits.values())
    with progress_bars("images") as add_bar:
        write_files(opened, folder, add_bar(f"{store} -> {folder}", total))
    maps = sum((len(split.paths) - 1) * len(split) for split in opened.splits.values())
    say(f"wrote {total} images and {maps} maps to {folder}")
