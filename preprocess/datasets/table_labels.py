"""The labels and classes of the rows of tables."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from preprocess.datasets.base import Request
from preprocess.datasets.classes import note_lacking, refuse_unlearnt, unlabelled
from preprocess.datasets.table_rows import LONGEST, SHOWN, Rows
from preprocess.datasets.table_splits import splits_in_order
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

_MARKS = r"[|;,]|['\"]\s+['\"]"  # between labels in one cell
_NUMBER = re.compile(r"([+-]?(?:0|[1-9]\d{0,14}))(?:\.0+)?")  # 3, and 3.0 as pandas writes it


def leave_unlabelled(rows: Rows, request: Request) -> tuple[Rows, list[str]]:
    """Leave out splits whose rows all lack labels, such as the test split of a contest; refuse other such rows."""
    empty, notes = _without_labels(rows)
    counts = Counter(rows.splits)
    gone = set()
    for split, places in empty.items():
        if split != "train" and len(places) == counts[split] and not (request.splits and split in request.splits):
            gone.add(split)
            notes.append(f"warning: {rows.name}: the split {split} has no labels and is left out: {rows.where(places)}")
        elif odd := [place for place in places if rows.labels[place] != "-1"]:
            words = listed(sorted({repr(rows.labels[place]) for place in odd} - {"''"}), SHOWN)
            hint = f"; if {words} is a class, give it another name" if words else ""
            raise DatasetError(
                f"{rows.path}: no label in {rows.where(odd)}, of {split}; write their labels, or delete these rows"
                f"{hint}"
            )
    return (rows.taken(lambda place: rows.splits[place] not in gone) if gone else rows), notes


def _without_labels(rows: Rows) -> tuple[dict[str, list[int]], list[str]]:
    """Return the places of the rows without a label, by split, and notes."""
    labels: dict[str, set[str]] = {}
    for label, split in zip(rows.labels, rows.splits, strict=True):
        labels.setdefault(split, set()).add(label)
    is_one_hot = len(rows.tables[0].labels) > 1  # then labels are names of columns
    none, notes = ({}, []) if is_one_hot else unlabelled({split: mine - {"", "-1"} for split, mine in labels.items()})
    found: dict[str, list[int]] = {}
    for place, (label, split) in enumerate(zip(rows.labels, rows.splits, strict=True)):
        if label.lower() in ("", "nan", "-1") or label in none.get(split, ()):
            found.setdefault(split, []).append(place)
    return found, notes


def classes_of(rows: Rows, columns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Return the classes, the label for each text of a label, and notes."""
    names = {label for label, split in zip(rows.labels, rows.splits, strict=True) if split == "train"}
    if len(columns) > 1:
        ordered = [name for name in columns if name in names]
        lacking = [shown_name(name) for name in columns if name not in names]
        notes = [f"warning: no image of train has a 1 in {listed(lacking, SHOWN)}, no class"] if lacking else []
        return tuple(ordered), {name: label for label, name in enumerate(ordered)}, notes
    numbers = {label: found for label in set(rows.labels) if (found := _NUMBER.fullmatch(label))}
    if len(numbers) < len(set(rows.labels)):
        ordered = sorted(names)
        return tuple(ordered), {name: label for label, name in enumerate(ordered)}, []
    used = sorted({int(numbers[name][1]) for name in names})
    label_of = {number: label for label, number in enumerate(used)}
    notes = [f"classes: the numbers from {used[0]} to {used[-1]} in column {columns[0]!r}"] if used else []
    if used != list(range(len(used))):
        notes[0] += f"; there are {len(used):,}: class {used[0]} has label 0, class {used[-1]} label {len(used) - 1}"
    if used[:1] == [-1] and len(used) > 2:
        notes.append(
            f"warning: the label -1 in column {columns[0]!r} is taken for a class, with label 0; if it means that "
            "there is none, remove these rows"
        )
    found = {text: label_of[int(match[1])] for text, match in numbers.items() if int(match[1]) in label_of}
    return tuple(map(str, used)), found, notes


def note_several(rows: Rows) -> list[str]:
    """Return a warning of cells that hold several labels; each such cell is a class."""
    counts = Counter(rows.labels)
    several = list(dict.fromkeys(label for mark in (_MARKS, r"\s+") for label in _several(counts, mark)))
    if not several:
        return []
    return [
        f"warning: {rows.name}: {sum(counts[label] for label in several):,} of {len(rows.labels):,} rows have several "
        f"labels in one cell, such as {shown_name(several[0][:LONGEST])!r}; one label per image is read: each such "
        "cell is a class of its own, unless you delete these rows"
    ]


def _several(labels: Iterable[str], mark: str) -> list[str]:
    """The labels of several parts: lists in brackets, parts that others have alone, or the same parts in two orders."""
    parts = {label: [part.strip(" '\"") for part in re.split(mark, label.strip("[]"))] for label in labels}
    alone = {each[0] for each in parts.values() if len(each) == 1}
    orders = Counter(tuple(sorted(each)) for each in set(map(tuple, parts.values())))
    return [
        label
        for label, each in parts.items()
        if len(each) > 1
        and ((mark == _MARKS and label.startswith("[")) or alone.issuperset(each) or orders[tuple(sorted(each))] > 1)
    ]


def compare_splits(rows: Rows, classes: Sequence[str], label_of: dict[str, int]) -> list[str]:
    """Refuse labels of other splits that ``train`` lacks; return notes on classes that splits lack."""
    notes = []
    for split in splits_in_order(rows.splits):
        labels = {label for label, each in zip(rows.labels, rows.splits, strict=True) if each == split}
        where = f"{rows.name}: the split {split}"
        remedy = "add rows of them to train, delete their rows"
        refuse_unlearnt(labels - label_of.keys(), where, "train", remedy, classes)
        notes += note_lacking(classes, {classes[label_of[label]] for label in labels}, where, "train")
    return notes
