"""``pack``: a store as one file."""

import functools
from pathlib import Path

import click
from rich.filesize import decimal

from preprocess.cli.common import FILE, friendly, progress_bar


@click.command(short_help="A store as one file.")
@click.argument("store", type=FILE)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@friendly
def pack(store: Path, out: Path) -> None:
    """Copy STORE into the one file OUT, which opens like a store; nothing is recompressed."""
    from preprocess.inspect.verify import count_files
    from preprocess.store import Store
    from preprocess.store.pack import pack as write_pack

    if out.suffix != ".h5":
        raise click.BadParameter(f"expected a file name that ends in .h5, got {out}", param_hint="OUT")
    opened = Store(store)
    with progress_bar("shards") as progress:
        bar = progress.add_task(f"{store} -> {out}", total=count_files(opened))
        write_pack(opened, out, functools.partial(progress.advance, bar))
    click.echo(f"wrote {out}: {decimal(out.stat().st_size)}")
