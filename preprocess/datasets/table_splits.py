"""The splits of the rows of tables: by a column, by the names of several tables, or by folders of the paths."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import SPLITS, Request, split_name
from preprocess.datasets.columns import Columns
from preprocess.datasets.paths import common_folder
from preprocess.datasets.table_rows import LONGEST, SHOWN, Rows
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def splits_of_files(tables: Sequence[Columns]) -> list[str]:
    """Return the split of each table, by a word in its name or else the name of its folder; ``train`` for only one."""
    _refuse_unlabelled(tables)
    for what, option, names in (
        ("label", "--label", [", ".join(each.label_names) for each in tables]),
        ("split", "--split", [", ".join(each.split_names) for each in tables]),
    ):
        if len(set(names)) > 1:
            shown = [f"{name!r} in {each.table.path}" for name, each in zip(names, tables, strict=True)]
            raise DatasetError(
                f"the tables differ in their column of {what}s: {listed(shown, SHOWN)}; give them the same columns, "
                f"or choose one that all have with {option} NAME"
            )
    if len(tables) == 1 or tables[0].splits:
        return ["train"] * len(tables)
    found: dict[str, Path] = {}
    for path in (each.table.path for each in tables):
        words = _split_words(path.stem) or {split_name(path.absolute().parent.name)}.intersection(SPLITS)
        if len(words) != 1:
            raise DatasetError(
                f"{path}: expected one word for train, val or test in the name of each of several tables, as in "
                f"train_list.txt, got {' and '.join(sorted(words)) or 'none'}; rename it, or join the tables to one "
                "with a column of splits"
            )
        if (first := found.setdefault(*words, path)) is not path:
            raise DatasetError(f"{first} and {path} are both of {''.join(words)}; join them to one table")
    return list(found)


def _refuse_unlabelled(tables: Sequence[Columns]) -> None:
    """Refuse tables that lack the column of labels of another, which has all columns of theirs: tests of contests."""
    pairs = [(each, other) for each in tables for other in tables if _lacks_labels(each, other)]
    if odd := [(each, other) for each, other in pairs if (other, each) not in pairs]:
        each, other = odd[0]
        raise DatasetError(
            f"{each.table.path} has no column {listed(list(map(repr, other.label_names)), SHOWN)} of labels, as "
            f"{other.table.path} has: leave out --table {shown_name(each.table.path)}, or write the labels there"
        )


def _lacks_labels(each: Columns, other: Columns) -> bool:
    return not other.table.folders and not set(other.label_names) <= {normalize("NFC", name) for name in each.names}


def refuse_splits_as_labels(rows: Rows, request: Request) -> None:
    """Refuse a column that was guessed for the labels, and has only words for splits."""
    labels, columns = sorted({*rows.labels} - {""}), rows.tables[0].label_names
    if request.label is None and len(columns) == 1 and labels and all(split_name(each) in SPLITS for each in labels):
        name = shown_name(columns[0])
        raise DatasetError(
            f"{rows.path}: the column for the labels, {name!r}, has only words for splits: {', '.join(labels)}; if "
            f"they are splits, add a column of labels; if they are classes, say --label {shlex.quote(name)}"
        )


def with_splits(rows: Rows, named: Sequence[str]) -> tuple[Rows, list[str]]:
    """Say the splits of several tables, or take those that the folders of all paths of one table name; and notes."""
    if rows.tables[0].splits:
        return rows, []
    if len(rows.tables) == 1:
        splits, notes = _splits_of_folders(rows)
        return (replace(rows, splits=splits) if splits else rows), notes
    paths = [each.table.path for each in rows.tables]
    names = [os.path.relpath(path, common_folder(paths)) for path in paths]
    shown = ", ".join(f"{shown_name(name)} is {split}" for name, split in zip(names, named, strict=True))
    return rows, [f"splits: {shown}"]


def _splits_of_folders(rows: Rows) -> tuple[list[str], list[str]]:
    """Return the splits of rows by words for them in the same place of all paths, and a note; else a warning of such.

    Folders with the name of a class are none of them.
    """
    pairs = dict.fromkeys(zip(map(os.path.dirname, rows.images), rows.labels, strict=True))
    folders, labels = [folder.split("/") for folder, _ in pairs], tuple(label for _, label in pairs)
    places = [
        place
        for place, column in enumerate(zip(*folders, strict=False))
        if column != labels and len(found := set(map(split_of, column))) > 1 and "train" in found and "" not in found
    ]
    if len(places) == 1:
        names = [image.split("/")[places[0]] for image in rows.images]
        meant = {name: split_of(name) for name in sorted(set(names))}
        said = ", ".join(f"{shown_name(name)} is {split}" for name, split in meant.items())
        return [meant[name] for name in names], [f"{rows.name}: splits from folders of the paths: {said}"]
    words = [
        {split_of(part) for part in parts if part != label} - {""} for parts, label in zip(folders, labels, strict=True)
    ]
    said = {" and ".join(sorted(each)) for each in words}
    if len(said) < 2 or said <= {"", "train"}:
        return [], []
    return [], [
        f"warning: {rows.name}: folders of some paths are called as splits ({', '.join(sorted(said - {''}))}), but no "
        "column says the splits; if they are, add a column with train, val or test for each row"
    ]


def split_of(folder: str) -> str:
    """The split that the name of a folder means, also as one word of several: train for ``train2017``; else empty."""
    word = split_name(folder)
    found = {word} if word in SPLITS else _split_words(folder)
    return found.pop() if len(found) == 1 else ""


def _split_words(name: str) -> set[str]:
    """The splits that words in a name mean: test in ``test1``, train in ``trainLabels`` and ``trainval``."""
    words = ("train" if word.lower() == "trainval" else word for word in _WORD.findall(name))
    return set(map(split_name, words)).intersection(SPLITS)


def name_splits(rows: Rows, request: Request) -> tuple[Rows, bool]:
    """Name the splits as a store does; whether there are none."""
    columns = rows.tables[0]
    if not columns.splits and len(rows.tables) == 1 and set(rows.splits) <= {"train"}:
        return rows, True
    names = ", ".join(map(repr, columns.split_names))
    what = f"column{'s' if len(columns.splits) > 1 else ''} {names}" if names else "the tables"
    words = {split: split_name(split) for split in set(rows.splits)}
    if odd := [place for place, split in enumerate(rows.splits) if not split]:
        lacking = "none or several splits" if columns.flags else "no split"
        way = "write 1 or 0, and 1 for one split of each row" if columns.flags else "write train, val or test there"
        raise DatasetError(f"{rows.path}: {lacking} in {what} in {rows.where(odd)}; {way}")
    known = [split for split in SPLITS if split in words.values()]
    others = sorted(set(words.values()) - set(known))
    held = listed([shown_name(split[:LONGEST]) for split in known + others], SHOWN)
    if request.splits is None and others:
        raise DatasetError(
            f"{rows.path}: {what} has values that are no words for train, val or test: "
            f"{listed([repr(each[:LONGEST]) for each in others], SHOWN)}; write these words"
            + (f", or leave the others out with --splits {','.join(known)}" if "train" in known else "")
        )
    if unknown := [split for split in request.splits or () if split not in words.values()]:
        raise DatasetError(f"{rows.path} has no rows of the split {unknown[0]!r}; it has {held}")
    if "train" not in known:
        raise DatasetError(f"{rows.path}: no rows of train, which has the classes, in {what}; there are {held}")
    named = [words[split] for split in rows.splits]
    rows = replace(rows, splits=named)
    return rows.taken(lambda place: named[place] == "train" or request.wants(named[place])), False


def splits_in_order(splits: Iterable[str]) -> list[str]:
    """The splits that occur: train, val and test first, then others by name."""
    found = set(splits)
    return [split for split in SPLITS if split in found] + sorted(found.difference(SPLITS))
