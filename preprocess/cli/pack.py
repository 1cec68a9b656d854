"""``pack``: copy a store into one file."""

from pathlib import Path

import click
from rich.filesize import decimal

from preprocess.cli.common import check_ending, force_option, friendly, store_argument
from preprocess.parameters import NamedPath
from preprocess.terminal import progress_bars, say


@click.command(short_help="Copy a store into one file.")
@store_argument
@click.argument("out", type=NamedPath(dir_okay=False))
@force_option
@friendly
def pack(store: Path, out: Path, force: bool) -> None:
    """Copy STORE into the single file OUT, which opens like a store. Nothing is recompressed."""
    from preprocess.outputs import PACK, check_output
    from preprocess.store import Store
    from preprocess.store.pack import pack as write_pack

    check_ending(out, ".h5", "OUT")
    opened = Store(store)
    check_output(out, PACK, force, opened.files)
    with progress_bars("shards") as add_bar:
        write_pack(opened, out, add_bar(f"{store} -> {out}", sum(1 for _ in opened.shards())))
    say(f"wrote {out}: {decimal(out.stat().st_size)}")
