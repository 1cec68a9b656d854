"""``report``: a page about a store."""

import functools
from collections.abc import Callable
from pathlib import Path

import click

from preprocess.cli.common import FILE, friendly, progress_bar
from preprocess.machine import cores


@click.command(short_help="A page about a store: failures, counts, balance, pictures, timings.")
@click.argument("store", type=FILE)
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True)
@click.option("--superpixels", metavar="NAME", help="Which superpixels, see inspect.  [default: the first]")
@click.option("--count", type=click.IntRange(1, 50), default=8, show_default=True, help="Images of a contact sheet.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Images of each split that are read for the sizes of superpixels.",
)
@friendly
def report(store: Path, out: Path, superpixels: str | None, count: int, samples: int) -> None:
    """Write one HTML page about STORE that needs no other file and no network.

    What is damaged is listed on the page, first of all, and does not end the command.
    """
    if out.suffix != ".html" or out.is_dir():
        raise click.BadParameter(f"expected a file name that ends in .html, got {out}", param_hint="--out")
    if not out.parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    from preprocess.files import writing_aside
    from preprocess.inspect.report.gather import gather
    from preprocess.inspect.report.page import render
    from preprocess.store import Store

    opened = Store(store, superpixels)
    with progress_bar("steps") as progress:

        def stage(name: str, total: int) -> Callable[[], None]:
            return functools.partial(progress.advance, progress.add_task(name, total=total))

        found = gather(opened, count, samples, cores(), stage)
    page = render(found)
    with writing_aside(out) as file:
        file.write(page)
    for trouble in found.troubles:
        click.echo(trouble, err=True)
    if found.troubles:
        click.echo(f"{store} is damaged, see above; the page leaves these out", err=True)
    click.echo(f"wrote {out}")
