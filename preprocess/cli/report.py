"""``report``: write a page about a store."""

from pathlib import Path

import click

from preprocess.cli.common import check_ending, force_option, friendly, store_argument, superpixels_option
from preprocess.machine import cores
from preprocess.parameters import NamedPath
from preprocess.terminal import progress_bars, say, tell


@click.command(short_help="Write a page about a store: failures, counts, balance, images, timings.")
@store_argument
@click.option("--out", type=NamedPath(), default="report.html", show_default=True)
@superpixels_option
@click.option(
    "--count", type=click.IntRange(1, 50), default=8, show_default=True, help="Number of images in a contact sheet."
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Images read per split to measure superpixel sizes.",
)
@force_option
@friendly
def report(store: Path, out: Path, superpixels: str | None, count: int, samples: int, force: bool) -> None:
    """Write one self-contained HTML page about STORE.

    Damage does not stop the command: the page lists it at the top.
    """
    check_ending(out, ".html", "--out")
    from preprocess.inspect.report.gather import gather
    from preprocess.inspect.report.page import render
    from preprocess.outputs import PAGE, check_output, writing
    from preprocess.store import Store

    opened = Store(store, superpixels)
    check_output(out, PAGE, force, opened.files)
    with writing(out) as file:
        with progress_bars("steps") as add_bar:
            found = gather(opened, count, samples, cores(), add_bar)
        file.write(render(found))
    for trouble in found.troubles:
        tell(trouble)
    if found.troubles:
        tell(f"{store} is damaged, see above; the page omits the damaged parts")
    say(f"wrote {out}")
