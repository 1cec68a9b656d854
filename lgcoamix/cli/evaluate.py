"""``python -m lgcoamix evaluate``."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly, say_written
from lgcoamix.cli.options import CHECKPOINT, FORCE, PATH, SHARDS, options_of
from lgcoamix.cli.progress import passes
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.runs.documents import checkpoint_file, read_document
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.text import suggest
from preprocess.terminal import say, say_table

if TYPE_CHECKING:
    from lgcoamix.evaluation.metrics import Metric
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
      python -m lgcoamix evaluate --checkpoint runs/mix --shards data/cub.h5 --corruptions \\
          --reference runs/plain/evaluation-test/evaluation.json
    """
    from preprocess.inputs import confined
    from preprocess.outputs import EVALUATION, check_output
    from preprocess.store import Store

    store = Store(shards)
    split = choose_split(store, split)
    file = checkpoint_file(checkpoint)
    try:
        out = out or confined(file.parent, f"evaluation-{split}")
    except ValueError as error:
        raise SettingsError(f"the split {split!r} gives no name of a folder: {error}; give --out") from None
    inputs = [file, *store.files, *([Path(given["reference"])] if given["reference"] else [])]
    check_output(out, EVALUATION, force, inputs, [file.parent])
    if not force:
        _refuse_other(out, file, store, split)

    from lgcoamix.evaluation.evaluate import evaluate_checkpoint

    options = EvaluationOptions(checkpoint, split, out, **given)
    with passes() as start:
        document = evaluate_checkpoint(store, options, start)
    _print(document)
    say_written(out, EVALUATION)


def choose_split(store: "Store", wanted: str | None) -> str:
    """Return the split to use: the one asked for, or the store's for testing.

    Raises
    ------
    SettingsError, RunError : there is none.
    """
    wanted = store.test_split if wanted is None else wanted
    if wanted is None:
        raise RunError(f"{store.path} has neither a test nor a val split; choose another with --split")
    if wanted not in store.splits:
        raise SettingsError(f"{store.path} has no split {wanted!r}; {suggest(wanted, store.splits)}")
    return wanted


def _refuse_other(out: Path, checkpoint: Path, store: "Store", split: str) -> None:
    """Refuse to replace the evaluation of another checkpoint, which took as long."""
    try:
        there = read_document(out / "evaluation.json")
        found = there["checkpoint"]["path"], there["store"]["name"], there["split"]
    except (OSError, RunError, LookupError, TypeError):
        return
    if found != (str(checkpoint.resolve()), store.name, split):
        raise SettingsError(
            f"{out} contains the evaluation of {found[0]} on {found[1]}, split {found[2]}; choose another --out, or "
            "pass --force to replace it"
        )


def _print(document: dict[str, Any]) -> None:
    """One row for clean images, and one per attack; a table of corruptions."""
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
    rows += [(f"PGD, epsilon {row['epsilon_255']:g}/255", row) for row in document["pgd"]]
    rows += [(f"{row['share']:g} of {grid}x{grid} patches dropped", row) for row in document["drop"]]
    for name, row in rows:
        table.add_row(name, *(_figure(row, key, metric) for key, metric in METRICS.items()))
    say_table(table)
    if document["localisation"]:
        _print_localisation(document["localisation"])
    if document["corruptions"]:
        _print_corruptions(document["corruptions"])
    say(f"[...]: {document['interval']}. It says how far other test images might move a figure, not another seed.")
    if document["tta"] == "flip":
        maps = "; localisation: maps of the image alone" if document["localisation"] else ""
        say(f"all figures: probabilities averaged over each image and its mirror image{maps}")
    say(f"protocol: {document['protocol']}")
    rows = zip(document["classes"], figures["per_class"], figures["per_class_interval"], strict=True)
    known = sorted((row for row in rows if row[1] is not None), key=lambda row: row[1])
    worst, best = (f"{name}, {value:.2f} % {_interval(ends)}" for name, value, ends in (known[0], known[-1]))
    if figures["confusion"] is None:
        say(f"no confusion matrix: {len(document['classes']):,} classes, and it is made for at most {MOST_CONFUSED:,}")
    say(f"worst class: {worst}; best class: {best}")


def _print_localisation(found: dict[str, Any]) -> None:
    """One row per figure; the numbers of images that are left out."""
    table = Table("localisation", "images that count", "threshold", title_justify="left")
    table.title = f"localisation of {found['images']} images, boxes from {found['method']}"
    names = {"max_box_acc": "MaxBoxAcc, GT-known", "top1": "top-1 localisation", "max_box_acc_v2": "MaxBoxAccV2"}
    for name, label in names.items():
        threshold = "" if name == "max_box_acc_v2" else f"{found['threshold']:.3f}"
        table.add_row(label, f"{found[name]:.2f} % {_interval(found['interval'][name])}", threshold)
    for row in found["max_box_acc_v2_by_iou"]:
        accuracy = f"{row['accuracy']:.2f} % {_interval(row['interval'])}"
        table.add_row(f"  at IoU {row['iou']}", accuracy, f"{row['threshold']:.3f}")
    say_table(table)
    left_out = ("without_box", "without a box"), ("out_of_view", "whose boxes the crop does not show")
    for name, what in left_out:
        if found[name]:
            say(f"not localised: {found[name]} images {what}")
    if found["flat_maps"]:
        say(f"{found['flat_maps']} images have a constant activation map, which shows nothing")


def _figure(row: dict[str, Any], key: str, metric: "Metric") -> str:
    """For example ``61.03 % [55.88, 66.91]``."""
    ends = row["interval"].get(key)
    return metric.text(row[key]) + (f" {_interval(ends, metric.form.removesuffix(' %'))}" if ends else "")


def _interval(ends: tuple[float, float], form: str = "{:.2f}") -> str:
    return f"[{form.format(ends[0])}, {form.format(ends[1])}]"


def _print_corruptions(found: dict[str, Any]) -> None:
    """One row per corruption, and one for their mean; errors relative to a reference if there is one."""
    relative = found["mce"] is not None
    head = ["corruption", *(f"severity {severity}" for severity in range(1, 6)), "top-1, mean"]
    table = Table(*head, *(["corruption error"] if relative else []), title_justify="left")
    table.title = f"top-1 (%) under common corruptions, by {found['library']}"
    for row in found["by_corruption"]:
        own = [f"{each['top1']:.2f}" for each in found["rows"] if each["corruption"] == row["corruption"]]
        error = [f"{row['error']:.2f} {_interval(row['error_interval'])}"] if relative else []
        table.add_row(row["corruption"], *own, f"{row['top1']:.2f} {_interval(row['interval'])}", *error)
    mce = [f"{found['mce']:.2f} {_interval(found['mce_interval'])}"] if relative else []
    means = (mean(row["top1"] for row in found["rows"] if row["severity"] == severity) for severity in range(1, 6))
    table.add_row(
        "mean", *(f"{each:.2f}" for each in means), f"{found['top1']:.2f} {_interval(found['interval'])}", *mce
    )
    say_table(table)
    if relative:
        say(
            f"corruption error: errors at all severities in percent of those of {found['reference']['path']}, which "
            "the intervals take as they are; their mean is mCE"
        )
    else:
        say("no corruption errors: they are relative to a reference, --reference FILE")
