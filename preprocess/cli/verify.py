"""``verify``: check every file of a store, and repair it on request."""

import shlex
from dataclasses import replace
from pathlib import Path

import click

from preprocess.cli.common import friendly, jobs_option, store_argument
from preprocess.cli.sources import Given, find_listing, source_of, source_options
from preprocess.errors import BuildError
from preprocess.terminal import progress_bars, say, tell


@click.command(short_help="Check every file and every sample, and repair damage on request.")
@store_argument
@jobs_option
@click.option("--repair", is_flag=True, help="Rebuild the damaged shards, and nothing else.")
@source_options
@friendly
def verify(store: Path, jobs: int, repair: bool, given: Given) -> None:
    """Read all of STORE, decode every sample, and list what is damaged or odd. Exit code 1 if anything is.

    To rebuild images, --repair needs the raw data, and the options that told build where it is.
    """
    from preprocess.inspect import verify as inspection
    from preprocess.store import Store

    def find_faults() -> list:
        opened = Store(store)
        with progress_bars("files") as add_bar:
            return inspection.verify(opened, jobs, add_bar(f"verify {store}", inspection.count_files(opened)))

    faults = find_faults()
    for line in (line for fault in faults for line in fault.lines):
        tell(line)
    if repair and (damaged := {fault.path for fault in faults if fault.damaged}):
        _repair(store, damaged, given, jobs)
        say(f"rebuilt {len(damaged)} shards of {store}")
        faults = find_faults()
    if not all(fault.damaged for fault in faults):
        raise click.ClickException(
            f"{store} is not sound, see above: its digests are right, so it was written so, and --repair cannot help; "
            "do not use it, get another copy or build it again under another name"
        )
    if faults:
        remedy = "replace it with an intact copy" if Store(store).packed else _how_to_repair(store, faults)
        raise click.ClickException(f"{store} is damaged, see above; {remedy}")
    opened = Store(store)
    files = "it matches its digest" if opened.packed else f"{inspection.count_files(opened)} shards match their digests"
    say(f"{store} is intact: {files}")


def _how_to_repair(path: Path, faults: list) -> str:
    from preprocess.build.repair import needs_sources
    from preprocess.raw.adapters import adapter_of
    from preprocess.raw.find import RAW
    from preprocess.store import Store

    store = Store(path)
    again = f"repair it with python -m lgcoamix preprocess verify {shlex.quote(str(path))} --repair"
    if not needs_sources(store.index, {fault.path for fault in faults}):
        return again
    if adapter_of(store.dataset) is None:
        return f"call preprocess.build_store again with update=True if it made the store, or {again} --adapter ..."
    if not (RAW / store.dataset).is_dir():
        return f"{again} --root FOLDER, and the other options that told build where the images are"
    return again


def _repair(out: Path, damaged: set[str], given: Given, jobs: int) -> None:
    from preprocess.build.repair import needs_sources, repair
    from preprocess.raw.selection import select_as_stored
    from preprocess.store import Store

    store = Store(out)
    if store.packed:
        raise BuildError(f"{out} is a packed store, which cannot be changed; pack the original store again")
    listing = None
    if needs_sources(store.index, damaged):
        entries = store.document["splits"]
        rule = next((entry["divided"] for entry in entries.values() if "divided" in entry), None)
        chosen = given if given.split else replace(given, split=rule)
        source = source_of(store.dataset, chosen, ",".join(needs_sources(store.index, damaged)))
        listing = select_as_stored(find_listing(source, download=False, partial=True), entries)
    with progress_bars("images") as add_bar:
        backend = "loky" if jobs > 1 else "threading"
        repair(out, store.index, damaged, listing, jobs, backend, add_bar(f"repair {out}", None))
