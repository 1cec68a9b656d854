"""``python -m lgcoamix explain``."""

from pathlib import Path
from typing import Any

import click

from lgcoamix.cli.common import CONTEXT, friendly, say_written
from lgcoamix.cli.evaluate import choose_split
from lgcoamix.cli.options import CHECKPOINT, FORCE, PATH, SHARDS, options_of
from lgcoamix.cli.progress import passes
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.settings.options import ExplainOptions
from preprocess.terminal import say


@click.command(short_help="Show what a network made of single images.", context_settings=CONTEXT)
@CHECKPOINT
@SHARDS
@click.option("--out", type=PATH, required=True, help="Folder for the pictures and tables.")
@click.option("--split", metavar="NAME", help="[default: test, or val if there is no test]")
@click.option(
    "--keys", multiple=True, metavar="KEY,KEY", help="Show these images; keys are those of predictions.csv. Repeatable."
)
@options_of(ExplainOptions)
@FORCE
@friendly
def explain(
    checkpoint: Path, shards: Path, out: Path, split: str | None, keys: tuple[str, ...], force: bool, **given: Any
) -> None:
    """Show single images as the method sees them: attention, mixing, class activation.

    Each image is a row of page-01, page-02, ...: as stored; its superpixels, coloured by attention score; a
    partner and what is pasted of it; the mixed image with λ by area and by attention; its scores, without colour where
    a region is not kept; class activation of the true and of the predicted class. images.csv and superpixels.csv hold
    the numbers. Columns that a method does not have are left out, and named.

    \b
    Examples:
      python -m lgcoamix explain --checkpoint runs/try --shards data/cub.h5 --worst 12 --out worst
      python -m lgcoamix explain --checkpoint runs/try --shards data/photos.h5 --keys test/iris/7.jpg --out iris
    """
    from preprocess.outputs import EXPLANATION, check_output
    from preprocess.store import Store

    if bool(keys) == (given["worst"] is not None):
        raise click.UsageError("expected either --keys or --worst")
    store = Store(shards)
    split = choose_split(store, split)
    file = checkpoint_file(checkpoint)
    check_output(out, EXPLANATION, force, [file, *store.files], [file.parent])

    from lgcoamix.evaluation.explain import explain_checkpoint

    options = ExplainOptions(checkpoint, split, out, keys, **given)
    with passes() as start:
        notes = explain_checkpoint(store, options, start)
    for line in notes:
        say(line)
    say_written(out, EXPLANATION)
