"""``show``: draw a contact sheet."""

from pathlib import Path

import click

from preprocess.cli.common import friendly, store_argument, superpixels_option
from preprocess.terminal import say


@click.command(short_help="Draw images with superpixel boundaries on a contact sheet.")
@store_argument
@click.option("--out", type=click.Path(path_type=Path), default="sheet.png", show_default=True)
@click.option("--count", type=click.IntRange(1, 200), default=16, show_default=True, help="Number of images.")
@click.option("--split", help="Split to show.  [default: the first]")
@superpixels_option
@friendly
def show(store: Path, out: Path, count: int, split: str | None, superpixels: str | None) -> None:
    """Draw images of STORE with the boundaries of their superpixels at each scale."""
    from preprocess.inspect.sheet import contact_sheet
    from preprocess.store import Store

    opened = Store(store, superpixels)
    split = split or next(iter(opened.splits))
    if split not in opened.splits:
        raise click.BadParameter(
            f"{store} has the splits {', '.join(opened.splits)}, got {split!r}", param_hint="--split"
        )
    if not len(opened.splits[split]):
        raise click.BadParameter(f"split {split!r} of {store} has no images", param_hint="--split")
    contact_sheet(opened, split, count, out)
    say(f"wrote {out}")
