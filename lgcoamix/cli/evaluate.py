"""``python -m lgcoamix evaluate``."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, console, friendly
from lgcoamix.cli.progress import passes
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.settings.text import suggest

if TYPE_CHECKING:
    from preprocess.store import Store


def _numbers(upper: float, what: str) -> Callable[[click.Context, click.Parameter, str], tuple[float, ...]]:
    """A reader of comma lists of numbers in (0, upper]; ``none`` is the empty list."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
        if text.strip().lower() == "none":
            return ()
        try:
            values = sorted({float(part) for part in text.split(",")})
        except ValueError:
            values = [math.nan]
        if not all(0 < value <= upper for value in values):
            raise click.BadParameter(f"expected {what} in (0, {upper:g}] with commas between, or none, got {text!r}")
        return tuple(values)

    return read


@click.command(short_help="Figures, tables and pictures of a trained network.", context_settings=CONTEXT)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="last.pt or best.pt of a run, or its folder: then best.pt.",
)
@click.option(
    "--shards",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The store, for example data/cub.h5; with the classes that the network was trained on.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: evaluation-SPLIT beside the checkpoint]")
@click.option("--split", metavar="NAME", help="[default: test, or val where there is no test]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), help="[default: that of the training]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Loading processes.")
@click.option(
    "--fgsm",
    default="1,2,4,8",
    show_default=True,
    metavar="E,E|none",
    callback=_numbers(255, "numbers"),
    help="Attack with the fast gradient sign method: largest changes of a pixel, in 1/255.",
)
@click.option(
    "--drop",
    default="0.25,0.5,0.75",
    show_default=True,
    metavar="S,S|none",
    callback=_numbers(1, "shares"),
    help="Blacken these shares of the patches of every image.",
)
@click.option("--drop-grid", type=click.IntRange(1), default=7, show_default=True, help="Patches a side, for --drop.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides which patches.")
@click.option("--force", is_flag=True, help="Replace an evaluation of the same checkpoint and split in --out.")
@friendly
def evaluate(
    checkpoint: Path,
    shards: Path,
    out: Path | None,
    split: str | None,
    device: str,
    batch_size: int | None,
    workers: int,
    fgsm: tuple[float, ...],
    drop: tuple[float, ...],
    drop_grid: int,
    seed: int,
    force: bool,
) -> None:
    """Measure a trained network: top-1 and top-5, every class, calibration, robustness.

    Writes evaluation.json, tables and pictures into --out. Size and test protocol are those of the training; where the
    checkpoint holds averaged weights, these are evaluated.

    \b
    Examples:
      python -m lgcoamix evaluate --checkpoint runs/try --shards data/cub.h5
      python -m lgcoamix evaluate --checkpoint runs/try/last.pt --shards data/cub.h5 --fgsm none --out try-last
    """
    from preprocess.store import Store

    store = Store(shards)
    split = _choose_split(store, split)
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    out = out or folder / f"evaluation-{split}"

    from lgcoamix.evaluation.evaluate import EvaluationOptions, evaluate_checkpoint

    options = EvaluationOptions(
        checkpoint=checkpoint,
        split=split,
        out=out,
        force=force,
        device=device,
        batch_size=batch_size,
        workers=workers,
        fgsm=fgsm,
        drop=drop,
        drop_grid=drop_grid,
        seed=seed,
    )
    with passes() as start:
        document = evaluate_checkpoint(store, options, start)
    _print(document)
    written = sorted(path.name for path in out.iterdir() if path.suffix in (".json", ".csv", ".png"))
    click.echo(f"wrote {out}: {', '.join(written)}")


def _choose_split(store: "Store", wanted: str | None) -> str:

    if wanted is None:
        wanted = store.test_split
        if wanted is None:
            raise RunError(f"{store.path} has neither a test nor a val split; name one of its own with --split")
    if wanted not in store.splits:
        raise SettingsError(f"{store.path} has no split {wanted!r}; {suggest(wanted, store.splits)}")
    return wanted


def _print(document: dict[str, Any]) -> None:
    """One row for the images as they are, and one for each attack."""
    figures, checkpoint = document["figures"], document["checkpoint"]
    averaged = ", averaged weights" if checkpoint["weights"] == "model_ema" else ""
    title = (
        f"{checkpoint['name']}, {checkpoint['trained']}{averaged}: {figures['images']} images of {document['split']}"
    )
    table = Table("inputs", "top-1", "top-5", "loss", "calibration error", title=title, title_justify="left")
    grid = document["drop_grid"]
    rows = [("as they are", figures)]
    rows += [("as they are, without the mid-level branch", document["backbone"])] if document["backbone"] else []
    rows += [(f"FGSM, epsilon {row['epsilon_255']:g}/255", row) for row in document["fgsm"]]
    rows += [(f"{row['share']:g} of {grid}x{grid} patches dropped", row) for row in document["drop"]]
    for name, row in rows:
        top5 = "" if row["top5"] is None else f"{row['top5']:.2f} %"
        table.add_row(name, f"{row['top1']:.2f} %", top5, f"{row['loss']:.4f}", f"{row['calibration_error']:.4f}")
    console().print(table)
    pairs = zip(document["classes"], figures["per_class"], strict=True)
    known = sorted(((value, name) for name, value in pairs if value is not None), key=lambda pair: pair[0])
    (low, worst), (high, best) = known[0], known[-1]
    click.echo(f"worst class: {worst}, {low:.2f} %; best class: {best}, {high:.2f} %")
