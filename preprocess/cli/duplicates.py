"""``duplicates``: find copies of images within a store."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.cli.common import force_option, friendly, jobs_option, store_argument
from preprocess.parameters import FiniteRange, NamedPath
from preprocess.terminal import progress_bars, say, say_table

if TYPE_CHECKING:
    from preprocess.inspect.duplicates import Duplicates
    from preprocess.store import Store


@click.command(short_help="Find copies of images, exact or edited.")
@store_argument
@click.option("--exact", is_flag=True, help="Find only images with identical stored pixels.")
@click.option(
    "--threshold",
    type=FiniteRange(0, 1, min_open=True),
    help="Minimum similarity of near copies; lower finds more, with more false ones.  [default: 0.9]",
)
@click.option("--out", type=NamedPath(dir_okay=False), help="Write the copies to this file, for build --exclude.")
@force_option
@jobs_option
@friendly
def duplicates(store: Path, exact: bool, threshold: float | None, out: Path | None, force: bool, jobs: int) -> None:
    """List images of STORE that are copies of others, exact or edited, within and across its splits."""
    from preprocess.inspect.duplicates import THRESHOLD, exclude_lines, find_duplicates
    from preprocess.outputs import COPIES, check_output, writing
    from preprocess.store import Store

    if exact and threshold is not None:
        raise click.BadParameter("has no effect with --exact", param_hint="--threshold")
    opened = Store(store)
    if out is not None:
        check_output(out, COPIES, force, opened.files)
    with nullcontext() if out is None else writing(out) as file:
        with progress_bars("images") as add_bar:
            found = find_duplicates(opened, threshold or THRESHOLD, not exact, jobs, add_bar)
        if file is not None:
            file.write("".join(f"{line}\n" for line in exclude_lines(opened, found.groups)).encode())
    _print_copies(opened, found, out)
    if out is not None:
        say(f"wrote {out}; leave out the copies with build --exclude {out}")


def _print_copies(store: "Store", found: "Duplicates", out: Path | None) -> None:
    from preprocess.inspect.duplicates import SHOWN, copies, summary

    count = sum(len(group.copies) for group in found.groups)
    if not count:
        say(f"{store.path} has no duplicate images")
        return
    say_table(summary(store, found))
    say_table(copies(store, found.groups))
    if count > SHOWN:
        say(f"... and {count - SHOWN} more" + ("" if out else "; --out FILE writes all of them"))
    differ = sum(group.labels_differ for group in found.groups)
    say(f"{count} copies of {len(found.groups)} images; {differ} of these groups have different labels")
