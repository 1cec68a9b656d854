"""``python -m lgcoamix convert``."""

from pathlib import Path
from typing import Any

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import FILE, FORCE, PATH, options_of
from lgcoamix.errors import SettingsError
from lgcoamix.runs.documents import Classes
from lgcoamix.settings.options import LAYOUTS, ConvertOptions
from preprocess.inputs import read_regular
from preprocess.outputs import MODEL, check_output
from preprocess.parameters import Choice
from preprocess.schema import Form, check
from preprocess.terminal import say
from preprocess.text import shown_name

_CLASSES = Form(Classes)
_LARGEST = 32 * 2**20  # bytes of a file of names
_MOST_DIGITS = 6  # of a number of classes


@click.command(short_help="Convert a released checkpoint to an exported model.", context_settings=CONTEXT)
@click.argument("file", type=FILE)
@click.option("--from", "layout", type=Choice(LAYOUTS), required=True, help="Whose checkpoint it is.")
@click.option("--backbone", metavar="NAME", required=True, help="The network, by its name in timm.")
@click.option(
    "--classes",
    metavar="FILE|NUMBER",
    help="Names of the classes, one a line, in the order of the logits; or how many there are.",
)
@click.option("--shards", type=FILE, help="Take the classes, and how images are stored, from this store instead.")
@click.option("--out", type=PATH, required=True, help="Folder to create.")
@options_of(ConvertOptions)
@FORCE
@friendly
def convert(
    file: Path,
    layout: str,
    backbone: str,
    classes: str | None,
    shards: Path | None,
    out: Path,
    force: bool,
    **given: Any,
) -> None:
    """Convert FILE, a released state dict, to what export writes.

    predict and timm open OUT. Its network.pt is the whole network: evaluate opens it, and train.py starts from it, with
    --weights OUT/network.pt. Nothing is written unless every tensor of FILE has its place.

    \b
    Examples:
      python -m lgcoamix convert dogs.pt --from lgcoamix --backbone resnet50_stride16 --classes 120 --out models/dogs
      python -m lgcoamix convert cub.pth --from snapmix --backbone resnet50 --shards data/cub.h5 --out models/cub
    """
    if (classes is None) == (shards is None):
        raise SettingsError(
            "expected --classes FILE, --classes NUMBER or --shards STORE, and one of them alone: a released checkpoint "
            "does not name its classes"
        )
    from preprocess.store import Store

    store = None if shards is None else Store(shards)
    names = store.classes if store else _read_classes(classes)
    listing = () if store or classes.isdecimal() else (Path(classes),)
    check_output(out, MODEL, force, [file, *listing, *(store.files if store else ())])

    from lgcoamix.export.convert import convert as run

    summary, notes = run(ConvertOptions(file, layout, backbone, names, out, **given), store)
    say(
        f"{shown_name(file)}: {summary.architecture}, {summary.classes} classes, input {summary.image_size} pixels; "
        "timm gives the same logits"
    )
    for note in notes:
        say(note)
    say(f"wrote {out}: {', '.join(summary.files)}")


def _read_classes(given: str) -> tuple[str, ...]:
    """Names from a file, or numbers from 0."""
    if given.isdecimal():
        if len(given) > _MOST_DIGITS or int(given) == 0:
            raise SettingsError(f"--classes: expected from 1 to 999,999 classes, got {given[:20]}")
        return tuple(map(str, range(int(given))))
    try:
        names = read_regular(Path(given), _LARGEST).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise SettingsError(f"--classes: expected a number or a file of names, {given[:200]!r}: {reason}") from None
    try:
        check(_CLASSES, names)
    except ValueError as error:
        raise SettingsError(f"--classes: {given[:200]!r}: {error}; expected one name a line, all different") from None
    return tuple(names)
