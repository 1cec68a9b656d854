"""``python -m lgcoamix evaluate``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import CHECKPOINT, FORCE, PATH, SHARDS, options_of
from lgcoamix.cli.progress import passes
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.text import suggest
from preprocess.terminal import say, say_table

if TYPE_CHECKING:
    from preprocess.store import Store


@click.command(short_help="Evaluate a trained network: metrics, tables, plots.", context_settings=CONTEXT)
@CHECKPOINT
@SHARDS
@click.option("--out", type=PATH, help="[default: evaluation-SPLIT beside the checkpoint]")
@click.option("--split", metavar="NAME", help="[default: test, or val if there is no test]")
@options_of(EvaluationOptions)
@FORCE
@friendly
def evaluate(checkpoint: Path, shards: Path, out: Path | None, split: str | None, force: bool, **given: Any) -> None:
    """Measure a trained network: top-1 and top-5, accuracy per class, calibration, robustness, localisation.

    Writes evaluation.json, tables and plots to --out. Input size and test protocol are those of the training. If the
    checkpoint has averaged weights, they are evaluated.

    \b
    Examples:
      python -m lgcoamix evaluate --checkpoint runs/try --shards data/cub.h5
      python -m lgcoamix evaluate --checkpoint runs/try/last.pt --shards data/cub.h5 --fgsm none --out try-last
    """
    from preprocess.inputs import confined
    from preprocess.outputs import EVALUATION, check_output
    from preprocess.store import Store

    store = Store(shards)
    split = _choose_split(store, split)
    folder, file = checkpoint if checkpoint.is_dir() else checkpoint.parent, checkpoint_file(checkpoint)
    try:
        out = out or confined(folder, f"evaluation-{split}")
    except ValueError as error:
        raise SettingsError(f"the split {split!r} gives no name of a folder: {error}; give --out") from None
    check_output(out, EVALUATION, force, [file, *store.files], [folder])
    if not force:
        _refuse_other(out, file, store, split)

    from lgcoamix.evaluation.evaluate import evaluate_checkpoint

    options = EvaluationOptions(checkpoint, split, out, **given)
    with passes() as start:
        document = evaluate_checkpoint(store, options, start)
    _print(document)
    written = sorted(path.name for path in out.iterdir() if path.suffix in (".json", ".csv", f".{options.plots}"))
    say(f"wrote {out}: {', '.join(written)}")


def _choose_split(store: "Store", wanted: str | None) -> str:
    wanted = store.test_split if wanted is None else wanted
    if wanted is None:
        raise RunError(f"{store.path} has neither a test nor a val split; choose another with --split")
    if wanted not in store.splits:
        raise SettingsError(f"{store.path} has no split {wanted!r}; {suggest(wanted, store.splits)}")
    return wanted


def _refuse_other(out: Path, checkpoint: Path, store: "Store", split: str) -> None:
    """Refuse to replace the evaluation of another checkpoint, which took as long."""
    try:
        there = json.loads((out / "evaluation.json").read_bytes())
        found = there["checkpoint"]["path"], there["store"]["name"], there["split"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    if found != (str(checkpoint.resolve()), store.name, split):
        raise SettingsError(
            f"{out} contains the evaluation of {found[0]} on {found[1]}, split {found[2]}; choose another --out, or "
            "pass --force to replace it"
        )


def _print(document: dict[str, Any]) -> None:
    """One row for clean images, and one per attack."""
    from lgcoamix.evaluation.metrics import METRICS, MOST_CONFUSED

    figures, checkpoint = document["figures"], document["checkpoint"]
    averaged = ", averaged weights" if checkpoint["weights"] == "model_ema" else ""
    title = (
        f"{checkpoint['name']}, {checkpoint['trained']}{averaged}: {figures['images']} images of {document['split']}"
    )
    labels = (metric.label for metric in METRICS.values())
    table = Table("inputs", *labels, title=title, title_justify="left")
    grid = document["drop_grid"]
    rows = [("clean images", figures)]
    rows += [("clean images, without the mid-level branch", document["backbone"])] if document["backbone"] else []
    rows += [(f"FGSM, epsilon {row['epsilon_255']:g}/255", row) for row in document["fgsm"]]
    rows += [(f"{row['share']:g} of {grid}x{grid} patches dropped", row) for row in document["drop"]]
    for name, row in rows:
        table.add_row(name, *(metric.text(row[key]) for key, metric in METRICS.items()))
    say_table(table)
    if document["localisation"]:
        _print_localisation(document["localisation"])
    say(f"protocol: {document['protocol']}")
    pairs = zip(document["classes"], figures["per_class"], strict=True)
    known = sorted(((value, name) for name, value in pairs if value is not None), key=lambda pair: pair[0])
    (low, worst), (high, best) = known[0], known[-1]
    if figures["confusion"] is None:
        say(f"no confusion matrix: {len(document['classes']):,} classes, and it is made for at most {MOST_CONFUSED:,}")
    say(f"worst class: {worst}, {low:.2f} %; best class: {best}, {high:.2f} %")


def _print_localisation(found: dict[str, Any]) -> None:
    """One row; the numbers of images that it leaves out."""
    by_iou = found["max_box_acc_v2_by_iou"]
    labels = ("MaxBoxAcc = GT-known", "top-1 localisation", "MaxBoxAccV2", *(f"at IoU {row['iou']}" for row in by_iou))
    values = (found["max_box_acc"], found["top1"], found["max_box_acc_v2"], *(row["accuracy"] for row in by_iou))
    table = Table("boxes from", *labels, title=f"localisation of {found['images']} images", title_justify="left")
    table.add_row(f"{found['method']}, threshold {found['threshold']:.3f}", *(f"{value:.2f} %" for value in values))
    say_table(table)
    left_out = ("without_box", "without a box"), ("out_of_view", "whose boxes the crop does not show")
    for name, what in left_out:
        if found[name]:
            say(f"not localised: {found[name]} images {what}")
    if found["flat_maps"]:
        say(f"{found['flat_maps']} images have a constant activation map, which shows nothing")
