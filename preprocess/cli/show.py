"""``show``: draw a contact sheet."""

from pathlib import Path

import click

from preprocess.cli.common import force_option, friendly, store_argument, superpixels_option
from preprocess.parameters import NamedPath
from preprocess.terminal import say


@click.command(short_help="Draw images with superpixel boundaries on a contact sheet.")
@store_argument
@click.option("--out", type=NamedPath(), default="sheet.png", show_default=True)
@click.option("--count", type=click.IntRange(1, 200), default=16, show_default=True, help="Number of images.")
@click.option("--split", help="Split to show.  [default: the first]")
@superpixels_option
@force_option
@friendly
def show(store: Path, out: Path, count: int, split: str | None, superpixels: str | None, force: bool) -> None:
    """Draw images of STORE with the boundaries of their superpixels at each scale."""
    from preprocess.inspect.sheet import FORMATS, contact_sheet
    from preprocess.outputs import SHEET, check_output, writing
    from preprocess.store import Store

    if out.suffix not in FORMATS:
        raise click.BadParameter(
            f"expected a file name that ends in {', '.join(FORMATS)}, got {out}", param_hint="--out"
        )
    opened = Store(store, superpixels)
    check_output(out, SHEET, force, opened.files)
    split = split or next(iter(opened.splits))
    if split not in opened.splits:
        raise click.BadParameter(
            f"{store} has the splits {', '.join(opened.splits)}, got {split!r}", param_hint="--split"
        )
    if not len(opened.splits[split]):
        raise click.BadParameter(f"split {split!r} of {store} has no images", param_hint="--split")
    with writing(out) as file:
        file.write(contact_sheet(opened, split, count, out.suffix))
    say(f"wrote {out}")
