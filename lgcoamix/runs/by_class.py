"""Differences by class of two groups, from the evaluations beside their checkpoints. Does not import torch."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.runs.compare import Comparison, Group
from lgcoamix.runs.compare_table import difference_text
from lgcoamix.runs.documents import Classes, Count, Evaluation, Percent, images_named, read_document
from lgcoamix.runs.finished import Run
from lgcoamix.runs.paired import Paired, paired
from lgcoamix.runs.tables import Table
from lgcoamix.settings.text import suggest
from preprocess.files import digest_of
from preprocess.schema import Form
from preprocess.text import listed

_SHOWN = 10  # classes that gain most, and as many that lose most, on a terminal


class _Figures(TypedDict, total=False):
    per_class: Required[list[Percent | None]]
    counts: Required[list[Count]]


class _ByClass(Evaluation, total=False):
    classes: Required[Classes]
    figures: Required[_Figures]


_FORM = Form(Annotated[_ByClass, lambda document: _check_lengths(document)])


@dataclass(frozen=True)
class ClassDifference:
    """Accuracy of a class, in percent.

    Parameters
    ----------
    name : of the class.
    images : number of its images.
    mean, other : of the two groups, over all of their seeds.
    pair : differences by seed.
    """

    name: str
    images: int
    mean: float
    other: float
    pair: Paired


@dataclass(frozen=True)
class ByClass:
    """Differences of a group to the reference of its protocol.

    Parameters
    ----------
    group, other : the group and the reference.
    split, checkpoint : what was evaluated: a split, and the name of the file in each run folder.
    chosen_on : images by which the epoch of the checkpoint was chosen; empty if it is the last.
    rows : classes that have images, from the largest gain to the largest loss.
    """

    group: Group
    other: Group
    split: str
    checkpoint: str
    chosen_on: str
    rows: tuple[ClassDifference, ...]


def by_class(comparison: Comparison, label: str) -> ByClass:
    """Compare a group with the reference of its protocol, class by class.

    Raises
    ------
    SettingsError : no group has this label, or it has nothing to be compared with.
    RunError : a run has no evaluation of the test split, or one of other images or of another checkpoint.
    """
    named = [group for group in comparison.groups if group.label == label]
    if not named:
        labels = dict.fromkeys(group.label for group in comparison.groups)
        raise SettingsError(f"there is no group {label!r}; {suggest(label, labels)}")
    pairs = [
        (group, other)
        for group in named
        if (other := comparison.references.get(group.protocol)) is not None and other is not group
    ]
    if len(pairs) != 1:
        raise SettingsError(
            f"expected one group {label!r} and one to compare it with, found {len(pairs)} such pairs; name the other "
            "with --against GROUP, and give runs of one protocol"
        )
    group, other = pairs[0]
    if not {run.seed for run in group.runs} & {run.seed for run in other.runs}:
        raise RunError(f"{group.label} and {other.label} have no seed in common; train them with the same seeds")
    documents = {run.folder: _read(run) for run in (*group.runs, *other.runs)}
    names = {_what(document): folder for folder, document in documents.items()}
    if len(names) > 1:
        found = " and ".join(f"{name} ({folder})" for name, folder in names.items())
        raise RunError(f"expected evaluations of one kind of checkpoint, got {found}; evaluate the same of all")
    first = documents[group.runs[0].folder]
    for folder, document in documents.items():
        if document["figures"]["counts"] != first["figures"]["counts"]:
            raise RunError(f"the evaluations of {group.runs[0].folder} and {folder} count images differently")
    rows = [
        _row(number, name, images, group, other, documents)
        for number, (name, images) in enumerate(zip(first["classes"], first["figures"]["counts"], strict=True))
        if images
    ]
    rows.sort(key=lambda row: -row.pair.mean)  # stable: ties keep the order of classes
    protocol = group.runs[0].protocol
    is_best = first["checkpoint"]["name"] == "best.pt"
    chosen_on = images_named(protocol["best_chosen_on"], protocol) if is_best else ""
    return ByClass(group, other, first["split"], next(iter(names)), chosen_on, tuple(rows))


def table(found: ByClass, shortened: bool = False) -> Table:
    """Lay out the differences: one row per class; ``shortened``, the largest gains and losses alone."""
    rows, which = found.rows, ""
    if shortened and len(rows) > 2 * _SHOWN:
        which = f"; the {_SHOWN} largest gains and losses of {len(rows)} classes, all with --format or --out"
        rows = (*rows[:_SHOWN], *rows[-_SHOWN:])
    return Table(
        f"accuracy by class (%) on the split {found.split}{which}",
        ("class", "images", found.group.label, found.other.label, "difference"),
        tuple(
            (row.name, str(row.images), f"{row.mean:.2f}", f"{row.other:.2f}", difference_text(row.pair))
            for row in rows
        ),
        tuple(_notes(found)),
    )


def records(found: ByClass) -> list[dict[str, Any]]:
    """The figures, unrounded: one row per class."""
    return [
        {
            "split": found.split,
            "checkpoint": found.checkpoint,
            "chosen_on": found.chosen_on,
            "class": row.name,
            "images": row.images,
            "group": found.group.label,
            "against": found.other.label,
            "mean": row.mean,
            "against_mean": row.other,
            "pairs": len(row.pair.differences),
            "difference": row.pair.mean,
            "low": row.pair.low,
            "high": row.pair.high,
        }
        for row in found.rows
    ]


def _notes(found: ByClass) -> Iterator[str]:
    pair = found.rows[0].pair
    several = ", with its 95 % interval of Student's t in brackets, which misses one class in twenty by chance"
    common = f"mean over {len(pair.differences)} common seeds{several}" if len(pair.differences) > 1 else "of one seed"
    yield f"difference: {found.group.label} - {found.other.label}, {common}."
    chosen = f", the epoch of each run that was best on {found.chosen_on}" if found.chosen_on else ""
    yield f"Accuracies are those of {found.checkpoint}{chosen}, as evaluate measured them, whatever --metric says."
    if any(row.pair.low is None for row in found.rows) and len(pair.differences) > 1:
        yield "A class without an interval has equal differences for all seeds."
    if pair.left_out:
        yield f"left out of the differences, as only one group has them: seeds {listed(pair.left_out, 6)}"


def _what(document: dict[str, Any]) -> str:
    tta = document.get("tta", "none")
    return document["checkpoint"]["name"] + (f" with --tta {tta}" if tta != "none" else "")


def _read(run: Run) -> dict[str, Any]:
    """Read the evaluation of a run on its test images."""
    split = run.protocol["test_split"]
    if split is None:
        raise RunError(f"{run.folder} has no test split, so there are no accuracies by class; leave out --by-class")
    path = run.folder / f"evaluation-{split}" / "evaluation.json"
    again = f"run: python -m lgcoamix evaluate --checkpoint {run.folder} --shards STORE"
    if not path.is_file():
        raise RunError(f"{run.folder} has no evaluation of the split {split}, which --by-class reads; {again}")
    document = read_document(path, _FORM)
    keys, classes = document["store"]["keys"], run.protocol["classes"]
    if keys.get(f"{split}/images") != run.protocol["test images"] or document["classes"] != classes:
        raise RunError(f"{path} is of other images or classes than the run was tested on; {again} of the run")
    checkpoint = run.folder / Path(document["checkpoint"]["name"]).name
    if checkpoint.is_file() and digest_of(checkpoint) != document["checkpoint"]["sha256"]:
        raise RunError(f"{path} is of another {checkpoint.name} than the run has now; {again}")
    return document


def _row(
    number: int, name: str, images: int, group: Group, other: Group, documents: dict[Path, dict[str, Any]]
) -> ClassDifference:
    def of(each: Group) -> dict[int, float]:
        return {run.seed: documents[run.folder]["figures"]["per_class"][number] for run in each.runs}

    values, others = of(group), of(other)
    pair = paired(values, others)
    return ClassDifference(name, images, statistics.mean(values.values()), statistics.mean(others.values()), pair)


def _check_lengths(document: dict[str, Any]) -> None:
    figures, classes = document["figures"], document["classes"]
    if not len(classes) == len(figures["per_class"]) == len(figures["counts"]):
        raise ValueError("expected an accuracy and a number of images for every class")
    if not any(figures["counts"]):
        raise ValueError("expected images of some class")
    _check_filled(figures["per_class"], figures["counts"])


def _check_filled(accuracies: Sequence[float | None], counts: Sequence[int]) -> None:
    if any((accuracy is None) != (count == 0) for accuracy, count in zip(accuracies, counts, strict=True)):
        raise ValueError("expected an accuracy of the classes that have images, and null of the others")
