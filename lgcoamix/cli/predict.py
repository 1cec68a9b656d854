"""``python -m lgcoamix predict``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import FOLDER, FORCE, options_of
from lgcoamix.cli.progress import passes
from lgcoamix.errors import SettingsError
from lgcoamix.settings.options import PredictOptions
from preprocess.outputs import PREDICTIONS, check_output
from preprocess.parameters import NamedPath
from preprocess.terminal import say, say_table, tell
from preprocess.text import listed, shown_name

if TYPE_CHECKING:
    from lgcoamix.export.predict import Summary

_LISTED = 20  # unusable files on the terminal
_COLUMNS = 3  # classes in the table on the terminal
_exists = os.path.exists  # Path.exists raises where access is denied


def _csv(context: click.Context, option: click.Parameter, out: Path) -> Path:
    if out.suffix.lower() != ".csv":
        raise click.BadParameter(f"expected a file name that ends in .csv, got {str(out)!r}")
    return out


@click.command(short_help="Classify images with an exported network.", context_settings=CONTEXT)
@click.option(
    "--model",
    type=FOLDER,
    required=True,
    help="Folder written by export.",
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))  # any name that a file has
@click.option(
    "--out",
    type=NamedPath(dir_okay=False),
    default=Path("predictions.csv"),
    show_default=True,
    callback=_csv,
    help="Table to write; an earlier one is replaced.",
)
@options_of(PredictOptions)
@FORCE
@friendly
def predict(model: Path, images: tuple[Path, ...], out: Path, force: bool, **given: Any) -> None:
    """Classify IMAGES (files or folders) and write a table of classes and probabilities, most likely first.

    Images are preprocessed like the test images of the training. Unusable images are listed, and get a row with the
    reason; if no image is usable, the exit code is 1.

    \b
    Examples:
      python -m lgcoamix predict --model models/try photo.jpg
      python -m lgcoamix predict --model models/try holiday/ garden/ --top 3 --out flowers.csv
    """
    _check_paths(images)
    check_output(out, PREDICTIONS, force, [model, *images])

    from lgcoamix.export.predict import predict as run

    with passes() as start:
        summary = run(PredictOptions(model, images, out, **given), start)
    _print(summary)
    for folder, counts in summary.left_out.items():
        tell(f"left out of {shown_name(folder)}: {counts}")
    bad = f", {len(summary.failed)} not usable" if summary.failed else ""
    say(f"wrote {shown_name(out)}: {summary.images} image{'s' * (summary.images != 1)}{bad}")
    if len(summary.failed) == summary.images:
        sys.exit(1)


def _check_paths(images: tuple[Path, ...]) -> None:
    """Usage errors that need no torch. One missing path among several gets a row with the reason instead."""
    if not any(map(_exists, images)):
        names = listed([repr(str(path)) for path in images], 5)  # repr: no name reaches the terminal raw
        raise SettingsError(f"expected images or folders of images, but found no {names}")


def _print(summary: "Summary") -> None:
    """Print the first predictions as a table, and unusable files on standard error."""
    if summary.first:
        count = min(_COLUMNS, len(summary.first[0].classes))
        table = Table("image", *(f"{rank}." for rank in range(1, count + 1)))
        for found in summary.first:
            cells = (f"{shown_name(name)} {100 * share:.1f} %" for name, share in found.classes[:count])
            table.add_row(shown_name(found.path), *cells)
        say_table(table)
        more = summary.images - len(summary.failed) - len(summary.first)
        if more:
            say(f"... and {more} more")
    for found in summary.failed[:_LISTED]:
        tell(f"not usable: {shown_name(found.path)}: {found.error}")
    if len(summary.failed) > _LISTED:
        tell(f"... and {len(summary.failed) - _LISTED} more, see the column error")
