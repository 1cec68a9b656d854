"""``duplicates``: images that a store holds twice."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.cli.common import FILE, friendly, progress_bar
from preprocess.machine import cores

if TYPE_CHECKING:
    from preprocess.inspect.duplicates import Duplicates
    from preprocess.store import Store


@click.command(short_help="Images that a store holds twice.")
@click.argument("store", type=FILE)
@click.option("--exact", is_flag=True, help="Only equal stored pixels.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="Least similarity of near copies; lower: more of them, and more that are not.  [default: 0.9]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for build --exclude: every copy.")
@click.option("--jobs", type=click.IntRange(1), help="Number of workers.  [default: one for each core]")
@friendly
def duplicates(store: Path, exact: bool, threshold: float | None, out: Path | None, jobs: int | None) -> None:
    """List images of STORE that are copies of others, exact or edited, within and across its splits."""
    from preprocess.files import writing_aside
    from preprocess.inspect.duplicates import THRESHOLD, exclude_lines, find_duplicates
    from preprocess.store import Store

    if exact and threshold is not None:
        raise click.BadParameter("exact copies have no similarity", param_hint="--threshold")
    opened = Store(store)
    with progress_bar("images") as progress:

        def stage(name: str, total: int) -> Callable[[int], None]:
            return functools.partial(progress.advance, progress.add_task(name, total=total))

        found = find_duplicates(opened, threshold or THRESHOLD, not exact, jobs or cores(), stage)
    _tell(opened, found, out)
    if out is not None:
        with writing_aside(out) as file:
            file.write("".join(f"{line}\n" for line in exclude_lines(found.groups)).encode())
        click.echo(f"wrote {out}: build --exclude {out} leaves the copies out")


def _tell(store: "Store", found: "Duplicates", out: Path | None) -> None:
    from preprocess.inspect import tables
    from preprocess.inspect.duplicates import SHOWN, copies, summary

    count = sum(len(group.copies) for group in found.groups)
    if not count:
        click.echo(f"{store.path} holds no copies")
        return
    tables.show(summary(store, found))
    tables.show(copies(store, found.groups))
    if count > SHOWN:
        click.echo(f"... and {count - SHOWN} more" + ("" if out else ": --out FILE writes all"))
    differ = sum(group.labels_differ for group in found.groups)
    click.echo(f"{count} copies of {len(found.groups)} images; in {differ} of these groups labels differ")
