"""``verify``: read everything again, and mend it."""

import functools
from pathlib import Path

import click

from preprocess.cli.common import FILE, find_listing, friendly, progress_bar
from preprocess.errors import BuildError
from preprocess.machine import cores


@click.command(short_help="Read everything again and compare digests.")
@click.argument("store", type=FILE)
@click.option("--jobs", type=click.IntRange(1), help="Number of workers.  [default: one for each core]")
@click.option("--repair", is_flag=True, help="Make the damaged shards again, and nothing else.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the raw data, if images are to be made again.  [default: data/raw/DATASET]",
)
@friendly
def verify(store: Path, jobs: int | None, repair: bool, root: Path | None) -> None:
    """Read all of STORE and name every damaged shard and sample; exit code 1 if there are any."""
    from preprocess.inspect.verify import count_files
    from preprocess.inspect.verify import verify as find_faults
    from preprocess.store import Store

    def look() -> list:
        opened = Store(store)
        with progress_bar("files") as progress:
            bar = progress.add_task(f"verify {store}", total=count_files(opened))
            return find_faults(opened, jobs or cores(), functools.partial(progress.advance, bar))

    faults = look()
    for line in (line for fault in faults for line in fault.lines):
        click.echo(line, err=True)
    if faults and repair:
        _repair(store, {fault.path for fault in faults}, root, jobs or cores())
        click.echo(f"made {len(faults)} shards of {store} again")
        faults = look()
    if faults:
        remedy = (
            "take a sound copy" if Store(store).packed else f"mend it: python -m preprocess verify {store} --repair"
        )
        raise click.ClickException(f"{store} is damaged, see above; {remedy}")
    opened = Store(store)
    files = "" if opened.packed else f"{count_files(opened)} shards match their digests"
    click.echo(f"{store} is sound: {files or 'it matches its digest'}")


def _repair(out: Path, damaged: set[str], root: Path | None, jobs: int) -> None:
    from preprocess.build.repair import needs_sources
    from preprocess.build.repair import repair as mend
    from preprocess.raw.selection import select_as_stored
    from preprocess.store import Store

    store = Store(out)
    if store.packed:
        raise BuildError(f"{out} is a packed store, which is never changed; pack the store again")
    listing = None
    if needs_sources(store.index, damaged):
        listing = find_listing(store.dataset, root, download=False, partial=True)
        listing = select_as_stored(listing, store.document["splits"])
    with progress_bar("images") as progress:
        bar = progress.add_task(f"repair {out}", total=None)
        advance = functools.partial(progress.advance, bar)
        mend(out, store.index, damaged, listing, jobs, "loky" if jobs > 1 else "threading", advance)
