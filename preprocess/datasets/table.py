"""Images that a table lists, with their labels and perhaps their splits."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import EVERYTHING, SPLITS, Adapter, Listing, Request, Sample, split_name
from preprocess.datasets.classes import note_lacking, note_odd, refuse_unlearnt, unlabelled
from preprocess.datasets.columns import FOLDERS, Columns, choose_columns, flagged, truth
from preprocess.datasets.lookup import (
    Found,
    Lookup,
    alike,
    beside,
    end_of,
    folders_of,
    folders_with_all,
    in_other_form,
    in_the_root,
    look_up,
    may_look_beside,
)
from preprocess.datasets.paths import better_root, clean, common_folder, is_address, is_inside, names_folder
from preprocess.datasets.rows import open_table
from preprocess.errors import DatasetError, MissingDataError, PreprocessError
from preprocess.text import listed, shown_name

_SHOWN = 5
_LONGEST = 100  # characters of a cell in a message
_SEVERAL = "\0"  # the label of a row that has not one; no text has this letter
_LINE = 1 << 32  # more than the number of any line
_MARKS = r"[|;,]|['\"]\s+['\"]"  # between labels in one cell
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NUMBER = re.compile(r"([+-]?(?:0|[1-9]\d{0,14}))(?:\.0+)?")  # 3, and 3.0 as pandas writes it


@dataclass(frozen=True)
class _Rows:
    """The rows of tables, column by column. ``splits`` holds ``train`` for all if there are none.

    A number holds that of the table, from 0, above the bits of ``_LINE``, and that of the line.
    """

    tables: tuple[Columns, ...]
    numbers: Sequence[int]
    images: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]

    @property
    def home(self) -> Path:
        """The folder that holds all tables."""
        return common_folder([each.table.path for each in self.tables])

    @property
    def path(self) -> str:
        """The table, or the tables, for messages."""
        return listed([each.table.path for each in self.tables], _SHOWN)

    @property
    def name(self) -> str:
        """As ``path``, but without folders."""
        return listed([each.table.path.name for each in self.tables], _SHOWN)

    def columns(self, place: int) -> Columns:
        """Where the table of a row has what."""
        return self.tables[self.numbers[place] // _LINE]

    def where(self, places: Sequence[int]) -> str:
        """Say which lines these rows are: "lines 3, 4 and 7 more"."""
        shown = [self._number(self.numbers[place]) for place in places[:_SHOWN]]
        more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        return f"{self.tables[0].table.unit}{'s' if len(places) > 1 else ''} {', '.join(shown)}{more}"

    def _number(self, number: int) -> str:
        if len(self.tables) == 1:
            return str(number)
        return f"{os.path.relpath(self.tables[number // _LINE].table.path, self.home)}:{number % _LINE}"

    def taken(self, keep: Callable[[int], bool]) -> "_Rows":
        """Those rows whose places ``keep`` accepts."""
        chosen = [place for place in range(len(self.numbers)) if keep(place)]
        if len(chosen) == len(self.numbers):
            return self
        columns = (self.numbers, self.images, self.labels, self.splits)
        return _Rows(self.tables, *([column[place] for place in chosen] for column in columns))


def find_table(root: Path, request: Request = EVERYTHING) -> Listing:
    """List the images of tables: CSV, TSV or Parquet, or lines ``path label``.

    Several tables are of one split each, which a word in their names says, or have a column of splits.
    ``root`` is the folder that the paths are relative to. Columns are those that ``request`` names, or are guessed from
    their names and from the files that exist; the notes say which. Classes are the labels of ``train``: names sorted as
    texts, or numbers sorted as numbers. Samples keep the order of the table; keys are relative to the root.

    Raises
    ------
    MissingDataError : there is no table, or no folder ``root``.
    DatasetError : the table cannot be read, or a column cannot be told; a row has no image, no label, or one that
        another row has; a file is missing. The message names lines.
    """
    if not request.table:
        raise MissingDataError("say which table lists the images: --table list.csv")
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}; give the folder of the images with --root")
    tables = tuple(choose_columns(open_table(path), root, request) for path in request.table)
    named = _splits_of_files(tables)
    rows = _read(tables, named)
    _refuse_splits_as_labels(rows, request)
    rows, said = _with_splits(rows, named)
    rows, undivided = _divided(rows, request)
    rows, notes = _labelled(rows, request)
    classes, label_of, told = _classes(rows, tables[0].label_names)
    column = "" if tables[0].table.folders else listed(tables[0].label_names, _SHOWN)
    odd = note_odd(len(classes), rows.splits.count("train"), column)
    several = _note_several(rows)
    lacking = _compare(rows, classes, label_of)
    rows = rows.taken(lambda place: request.wants(rows.splits[place]))
    samples: dict[str, list[Sample]] = {split: [] for split in _ordered(rows.splits)}
    keys, found = _keys(rows, root, may_look_beside(root, request))
    for key, label, split in zip(keys, rows.labels, rows.splits, strict=True):
        samples[split].append(Sample(key, label_of[label], root / key))
    inside = [os.path.relpath(path, root) for path in request.table]
    return Listing(
        classes,
        {split: tuple(each) for split, each in samples.items()},
        undivided=undivided,
        tables=tuple(root / path for path in inside if not path.startswith("..")),
        notes=(
            *(note for each in tables for note in each.notes),
            *said,
            *found,
            *odd,
            *several,
            *told,
            *notes,
            *lacking,
        ),
    )


def _read(tables: tuple[Columns, ...], named: Sequence[str]) -> _Rows:
    """Read all rows; ``named`` are the splits of tables without a column of splits."""
    rows = _Rows(tables, [], [], [], [])
    texts: dict[str, str] = {}  # a label is in memory once, however many rows have it
    for place, (columns, word) in enumerate(zip(tables, named, strict=True)):
        chosen = (columns.image, *columns.labels, *columns.splits)
        end = 1 + len(columns.labels)
        read = columns.table.read(chosen)
        if columns.header:
            next(read)
        for number, cells in read:
            label = cells[1] if end == 2 else _marked(columns.label_names, cells[1:end])
            rows.numbers.append(place * _LINE + number)
            rows.images.append(clean(cells[0]))
            rows.labels.append(texts.setdefault(label, normalize("NFC", label)))
            said = cells[end:]
            split = flagged(columns.split_names, said) if columns.flags else said[0] if said else word
            rows.splits.append(texts.setdefault(split, split))
    if any(each.table.folders for each in tables):
        _refuse_merged(rows)
    if odd := [place for place, label in enumerate(rows.labels) if label == _SEVERAL]:
        raise DatasetError(
            f"{rows.path}: expected one 1 and else 0 in the columns {listed(tables[0].label_names, _SHOWN)}, which are "
            f"classes; there are several labels, or none, in {rows.where(odd)}; one label per image is read: delete "
            "these rows, or name a column of labels with --label"
        )
    return rows


def _refuse_merged(rows: _Rows) -> None:
    """Refuse folders of one name in different folders, which may be classes of their own: church/out and shop/out."""
    first: dict[str, str] = {}
    for place, (image, label) in enumerate(zip(rows.images, rows.labels, strict=True)):
        above = "/".join(part for part in image.split("/")[:-1] if split_name(part) not in SPLITS)
        if (other := first.setdefault(label, above)) != above:
            raise DatasetError(
                f"{rows.path}: labels are the last folders of the paths, but {shown_name(label)!r} may be two classes: "
                f"{shown_name(other)!r} and {shown_name(above)!r} in {rows.where([place])}; write the label into each "
                "line: 'path label'"
            )


def _marked(names: Sequence[str], cells: Sequence[str]) -> str:
    """The name of the only column that holds 1."""
    flags = [truth(cell) for cell in cells]
    return names[flags.index(True)] if flags.count(True) == 1 and None not in flags else _SEVERAL


# --------------------------------------------------------------------------------------------------------- splits


def _splits_of_files(tables: Sequence[Columns]) -> list[str]:
    """Return the split of each table, by a word in its name or else the name of its folder; ``train`` for only one."""
    _refuse_unlabelled(tables)
    for what, option, names in (
        ("label", "--label", [", ".join(each.label_names) for each in tables]),
        ("split", "--split", [", ".join(each.split_names) for each in tables]),
    ):
        if len(set(names)) > 1:
            shown = [f"{name!r} in {each.table.path}" for name, each in zip(names, tables, strict=True)]
            raise DatasetError(
                f"the tables differ in their column of {what}s: {listed(shown, _SHOWN)}; give them the same columns, "
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
            f"{each.table.path} has no column {listed(list(map(repr, other.label_names)), _SHOWN)} of labels, as "
            f"{other.table.path} has: leave out --table {shown_name(each.table.path)}, or write the labels there"
        )


def _lacks_labels(each: Columns, other: Columns) -> bool:
    return not other.table.folders and not set(other.label_names) <= {normalize("NFC", name) for name in each.names}


def _refuse_splits_as_labels(rows: _Rows, request: Request) -> None:
    """Refuse a column that was guessed for the labels, and has only words for splits."""
    labels, columns = sorted({*rows.labels} - {""}), rows.tables[0].label_names
    if request.label is None and len(columns) == 1 and labels and all(split_name(each) in SPLITS for each in labels):
        name = shown_name(columns[0])
        raise DatasetError(
            f"{rows.path}: the column for the labels, {name!r}, has only words for splits: {', '.join(labels)}; if "
            f"they are splits, add a column of labels; if they are classes, say --label {shlex.quote(name)}"
        )


def _with_splits(rows: _Rows, named: Sequence[str]) -> tuple[_Rows, list[str]]:
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


def _splits_of_folders(rows: _Rows) -> tuple[list[str], list[str]]:
    """Return the splits of rows by words for them in the same place of all paths, and a note; else a warning of such.

    Folders with the name of a class are none of them.
    """
    pairs = dict.fromkeys(zip(map(os.path.dirname, rows.images), rows.labels, strict=True))
    folders, labels = [folder.split("/") for folder, _ in pairs], tuple(label for _, label in pairs)
    places = [
        place
        for place, column in enumerate(zip(*folders, strict=False))
        if column != labels and len(found := set(map(_split_of, column))) > 1 and "train" in found and "" not in found
    ]
    if len(places) == 1:
        names = [image.split("/")[places[0]] for image in rows.images]
        split_of = {name: _split_of(name) for name in sorted(set(names))}
        said = ", ".join(f"{shown_name(name)} is {split}" for name, split in split_of.items())
        return [split_of[name] for name in names], [f"{rows.name}: splits from folders of the paths: {said}"]
    words = [
        {_split_of(part) for part in parts if part != label} - {""}
        for parts, label in zip(folders, labels, strict=True)
    ]
    said = {" and ".join(sorted(each)) for each in words}
    if len(said) < 2 or said <= {"", "train"}:
        return [], []
    return [], [
        f"warning: {rows.name}: folders of some paths are called as splits ({', '.join(sorted(said - {''}))}), but no "
        "column says the splits; if they are, add a column with train, val or test for each row"
    ]


def _split_of(folder: str) -> str:
    """The split that the name of a folder means, also as one word of several: train for ``train2017``; else empty."""
    word = split_name(folder)
    found = {word} if word in SPLITS else _split_words(folder)
    return found.pop() if len(found) == 1 else ""


def _split_words(name: str) -> set[str]:
    """The splits that words in a name mean: test in ``test1``, train in ``trainLabels`` and ``trainval``."""
    words = ("train" if word.lower() == "trainval" else word for word in _WORD.findall(name))
    return set(map(split_name, words)).intersection(SPLITS)


def _divided(rows: _Rows, request: Request) -> tuple[_Rows, bool]:
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
    held = listed([shown_name(split[:_LONGEST]) for split in known + others], _SHOWN)
    if request.splits is None and others:
        raise DatasetError(
            f"{rows.path}: {what} has values that are no words for train, val or test: "
            f"{listed([repr(each[:_LONGEST]) for each in others], _SHOWN)}; write these words"
            + (f", or leave the others out with --splits {','.join(known)}" if "train" in known else "")
        )
    if unknown := [split for split in request.splits or () if split not in words.values()]:
        raise DatasetError(f"{rows.path} has no rows of the split {unknown[0]!r}; it has {held}")
    if "train" not in known:
        raise DatasetError(f"{rows.path}: no rows of train, which has the classes, in {what}; there are {held}")
    named = [words[split] for split in rows.splits]
    rows = _Rows(rows.tables, rows.numbers, rows.images, rows.labels, named)
    return rows.taken(lambda place: named[place] == "train" or request.wants(named[place])), False


def _labelled(rows: _Rows, request: Request) -> tuple[_Rows, list[str]]:
    """Leave out splits whose rows all lack labels, such as the test split of a contest; refuse other such rows."""
    empty, notes = _without_labels(rows)
    counts = Counter(rows.splits)
    gone = set()
    for split, places in empty.items():
        if split != "train" and len(places) == counts[split] and not (request.splits and split in request.splits):
            gone.add(split)
            notes.append(f"warning: {rows.name}: the split {split} has no labels and is left out: {rows.where(places)}")
        elif odd := [place for place in places if rows.labels[place] != "-1"]:
            words = listed(sorted({repr(rows.labels[place]) for place in odd} - {"''"}), _SHOWN)
            hint = f"; if {words} is a class, give it another name" if words else ""
            raise DatasetError(
                f"{rows.path}: no label in {rows.where(odd)}, of {split}; write their labels, or delete these rows"
                f"{hint}"
            )
    return (rows.taken(lambda place: rows.splits[place] not in gone) if gone else rows), notes


def _without_labels(rows: _Rows) -> tuple[dict[str, list[int]], list[str]]:
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


# -------------------------------------------------------------------------------------------------------- classes


def _classes(rows: _Rows, columns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Return the classes, the label for each text of a label, and notes."""
    names = {label for label, split in zip(rows.labels, rows.splits, strict=True) if split == "train"}
    if len(columns) > 1:
        ordered = [name for name in columns if name in names]
        lacking = [shown_name(name) for name in columns if name not in names]
        notes = [f"warning: no image of train has a 1 in {listed(lacking, _SHOWN)}, no class"] if lacking else []
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


def _note_several(rows: _Rows) -> list[str]:
    """Return a warning of cells that hold several labels; each such cell is a class."""
    counts = Counter(rows.labels)
    several = list(dict.fromkeys(label for mark in (_MARKS, r"\s+") for label in _several(counts, mark)))
    if not several:
        return []
    return [
        f"warning: {rows.name}: {sum(counts[label] for label in several):,} of {len(rows.labels):,} rows have several "
        f"labels in one cell, such as {shown_name(several[0][:_LONGEST])!r}; one label per image is read: each such "
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


def _compare(rows: _Rows, classes: Sequence[str], label_of: dict[str, int]) -> list[str]:
    """Refuse labels of other splits that ``train`` lacks; return notes on classes that splits lack."""
    notes = []
    for split in _ordered(rows.splits):
        labels = {label for label, each in zip(rows.labels, rows.splits, strict=True) if each == split}
        where = f"{rows.name}: the split {split}"
        remedy = "add rows of them to train, delete their rows"
        refuse_unlearnt(labels - label_of.keys(), where, "train", remedy, classes)
        notes += note_lacking(classes, {classes[label_of[label]] for label in labels}, where, "train")
    return notes


def _ordered(splits: Iterable[str]) -> list[str]:
    found = set(splits)
    return [split for split in SPLITS if split in found] + sorted(found.difference(SPLITS))


# ---------------------------------------------------------------------------------------------------------- files


def _keys(rows: _Rows, root: Path, near: bool) -> tuple[list[str], list[str]]:
    """Return the paths of the files, relative to the root, and notes; all of them exist.

    ``near`` says whether errors may advise folders beside the root.
    """
    _refuse_rows(rows, "no path of an image", "write their paths, or delete these rows", lambda image: not image)
    _refuse_rows(
        rows,
        f"column {rows.tables[0].names[rows.tables[0].image]!r} holds addresses, not files,",
        "download the images, and list their files",
        is_address,
    )
    ways = [each.way for each in rows.tables]
    lookup, notes = _looked_up(rows, root, near)
    ways = [lookup if isinstance(way, Lookup) else way for way in ways]
    keys = [ways[number // _LINE].key(image) for number, image in zip(rows.numbers, rows.images, strict=True)]
    missing = [place for place, key in enumerate(keys) if not _is_file(root, key)]
    if there := _in_other_form(root, [keys[place] for place in missing]):
        missing = [place for place in missing if keys[place] not in there]
        keys = [there.get(key, key) for key in keys]
        notes.append(
            f"{rows.name}: {len(there):,} images are found by names in another Unicode form, such as "
            f"{shown_name(next(iter(there.values())))}"
        )
    if missing:
        raise DatasetError(_advise(rows, root, keys, missing, near))
    seen: dict[str, int] = {}
    repeated = [place for place, key in enumerate(keys) if seen.setdefault(key, place) != place]
    if repeated:
        shown = [
            f"{shown_name(keys[place])} in {rows.where([seen[keys[place]], place])}" for place in repeated[:_SHOWN]
        ]
        more = f" and {len(repeated) - _SHOWN:,} more" if len(repeated) > _SHOWN else ""
        raise DatasetError(f"{rows.path} lists images twice: {', '.join(shown)}{more}; keep one row for each image")
    return keys, notes


def _in_other_form(root: Path, missing: Sequence[str]) -> dict[str, str]:
    """Find missing files whose names with accents are in NFC in the table and in NFD on the disk, or the reverse."""
    if all(map(str.isascii, missing)):
        return {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        return in_other_form(root, missing)
    return {}


def _is_file(root: Path, key: str) -> bool:
    return is_inside(key) and os.path.isfile(f"{root}/{key}")  # noqa: PTH113 - millions of them


def _refuse_rows(rows: _Rows, what: str, remedy: str, is_odd: Callable[[str], bool]) -> None:
    if odd := [place for place, image in enumerate(rows.images) if is_odd(image)]:
        raise DatasetError(f"{rows.path}: {what} in {rows.where(odd)}; {remedy}")


def _looked_up(rows: _Rows, root: Path, near: bool) -> tuple[Lookup, list[str]]:
    """Find images by the ends of their paths, where these are not whole: each is there once, or nothing is guessed."""
    rows = rows.taken(lambda place: isinstance(rows.columns(place).way, Lookup))
    if not rows.images:
        return Lookup(root, {}), []
    found = look_up(root, rows.images)
    direct = in_the_root(found)
    several = sum(map(len, found.values()))
    if direct is None:
        own = _own_splits(rows)
        found = _below_own(rows, found, own)
        _refuse_other_splits(rows, root, found, {*own} - {""})
        _refuse_choice(rows, root, found, beside(root, found) if near else [])
    found = direct or found
    if not all(found.values()):
        return Lookup(root, found), []
    counts = [f"{shown_name(folder) or 'the root'} ({count:,})" for folder, count in sorted(folders_of(found).items())]
    note = f"{rows.name}: images are looked up by name, in {listed(counts, _SHOWN)}"
    if direct is None and several > len(found):
        note += "; other files of these names, outside of folders of their split, are not taken"
    return Lookup(root, found), [note, *_note_other_splits(rows, found)]


def _note_other_splits(rows: _Rows, found: Found) -> list[str]:
    """Return a warning if images of a table that says no splits were found below folders of val or test."""
    splits = set().union(*(_splits_above(key, end) for end, keys in found.items() for key in keys))
    if rows.tables[0].splits or any(_own_splits(rows)) or splits <= {"train"}:
        return []
    return [
        f"warning: {rows.name} says no splits, but its images are in folders of {' and '.join(sorted(splits))}: if "
        "names start anew in each of them, these may be other images; write the whole paths into the table if they "
        "are right"
    ]


def _own_splits(rows: _Rows) -> Sequence[str]:
    """The split of each row by the name of its table; empty if it says none."""
    if rows.tables[0].splits or "trainval" in rows.name.lower():
        return [""] * len(rows.images)
    return rows.splits if len(rows.tables) > 1 else [_split_of(rows.tables[0].table.path.stem)] * len(rows.images)


def _below_own(rows: _Rows, found: Found, own: Sequence[str]) -> Found:
    """Keep of several files of a name those below a folder of the split of its row, if there are such."""
    splits: dict[str, set[str]] = {}
    for image, split in zip(rows.images, own, strict=True):
        splits.setdefault(end_of(image), set()).add(split)
    return {
        end: [key for key in keys if splits.get(end, set()) == _splits_above(key, end)] or keys
        for end, keys in found.items()
    }


def _splits_above(key: str, end: str) -> set[str]:
    """The splits that the folders of a file mean, without those that its row names."""
    parts = key.split("/")
    return {_split_of(part) for part in parts[: len(parts) - 1 - end.count("/")]} - {""}


def _refuse_other_splits(rows: _Rows, root: Path, found: Found, own: set[str]) -> None:
    """Refuse files that are only below folders of other splits than those of the tables: ids may start anew there."""
    odd: dict[int, str] = {}
    for place, image in enumerate(rows.images if own else ()):
        keys = found.get(end := end_of(image), ())
        if keys and all((words := _splits_above(key, end)) and words.isdisjoint(own) for key in keys):
            odd[place] = keys[0]
    if odd:
        shown = [f"{rows.where([place])}: {shown_name(key)}" for place, key in list(odd.items())[:_SHOWN]]
        raise DatasetError(
            f"{rows.path}: the name says {' and '.join(sorted(own))}, but {len(odd):,} of {len(rows.images):,} images "
            f"are only in folders of other splits under {root}, which may be other images of the same names:"
            f"{_one_below_another(shown, len(odd))}\nunpack the images of {' and '.join(sorted(own))}; if these are "
            "right, give their folder with --root, or write their whole paths into the table, and a column of splits"
        )


def _refuse_choice(rows: _Rows, root: Path, found: Found, near: Sequence[Path]) -> None:
    """Refuse ends of paths that several files have, and images beside the folder of the table that fit as well."""
    twice = [place for place, image in enumerate(rows.images) if len(found.get(end_of(image), ())) > 1]
    if not twice and (not near or not all(found.values())):
        return
    if len(found) < len(rows.images):  # no root gives every row an image of its own
        near = []
    folders = [root / folder for folder in folders_with_all(found)] if len(found) == len(rows.images) else []
    if not twice:
        inside = listed([shown_name(root / folder) for folder in folders_of(found)], _SHOWN)
        other = "" if folders else f", or say --root {shown_name(root)}"
        raise DatasetError(
            f"{rows.path}: its images may be those in {inside}, or those in "
            f"{listed(list(map(shown_name, near)), _SHOWN)}; choose with {_roots(folders, near)}{other}"
        )
    shown = [
        f"{rows.where([place])}: {shown_name(listed(found[end_of(rows.images[place])], 2))}" for place in twice[:_SHOWN]
    ]
    advice = (
        f"each of these folders has one image for every row: choose with {_roots(folders, near)}"
        if folders or near
        else "write the whole paths into the table, or move all but one of them out of the root"
    )
    raise DatasetError(
        f"{rows.path}: {len(twice):,} of {len(rows.images):,} images may be one of several files under {root}:"
        f"{_one_below_another(shown, len(twice))}\n{advice}"
    )


def _roots(*folders: Sequence[Path]) -> str:
    return listed([f"--root {shown_name(folder)}" for each in folders for folder in each], _SHOWN)


def _advise(rows: _Rows, root: Path, keys: Sequence[str], missing: Sequence[int], near: bool) -> str:
    shown = [f"{rows.where([place])}: {shown_name(keys[place][:_LONGEST])}" for place in missing[:_SHOWN]]
    outside = any(not is_inside(keys[place]) for place in missing)
    return (
        f"{rows.path}: {len(missing):,} of {len(keys):,} images {'are not' if outside else 'are missing'} under "
        f"{root}:{_one_below_another(shown, len(missing))}\n{_remedy(rows, root, keys, missing, near)}"
    )


def _one_below_another(shown: Sequence[str], count: int) -> str:
    """Lines of a message: the rows that are shown, and how many more of ``count`` there are."""
    more = [f"and {count - len(shown):,} more"] if count > len(shown) else []
    return "".join(f"\n  {line}" for line in (*shown, *more))


def _remedy(rows: _Rows, root: Path, keys: Sequence[str], missing: Sequence[int], near: bool) -> str:
    if all(names_folder(root, rows.images[place]) for place in missing[:_SHOWN]):
        return f"these are folders, {FOLDERS}"
    found: dict[str, list[str]] = {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        found = look_up(root, rows.images)
    folders = [root / folder for folder in folders_with_all(found)] if len(found) == len(set(rows.images)) else []
    if near and not folders:
        folders = beside(root, map(end_of, rows.images))
    if not folders and (other := better_root(root, rows.home, rows.images, keys)):
        folders = [other]
    if folders:
        return f"all of them are found with {_roots(folders)}" + ("; choose one" if len(folders) > 1 else "")
    if elsewhere := [key for place in missing for key in found.get(end_of(rows.images[place]), ())]:
        inside = sorted({shown_name(os.path.dirname(key)) or "the root" for key in elsewhere})  # noqa: PTH120
        return (
            f"files of these names are in {listed(inside, _SHOWN)}: write these paths into the table, or move the files"
        )
    if like := _advise_alike(root, [keys[place] for place in missing]):
        return like
    if len(missing) == len(keys):
        return "give the folder that the paths start from with --root, or another column with --image"
    if list(missing) == [0] and rows.tables[0].table.unit == "line":
        return "add this file, or delete its row; if it is a header line, name its column of images with --image"
    outside = any(not is_inside(keys[place]) for place in missing)
    return "add these files, or delete their rows" + (" (or move them under the root)" if outside else "")


def _advise_alike(root: Path, missing: Sequence[str]) -> str:
    """Say which files have the paths of missing ones but for case and suffix; nothing if there are none."""
    found: dict[str, str] = {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        found = alike(root, missing)
    if not found:
        return ""
    first, there = next(iter(found.items()))
    rest = len(set(missing)) - len(found)
    others = f" (for {len(found):,} of them), and add the other files, or delete their rows" if rest else ""
    return (
        f"{shown_name(there)} is there, which differs from {shown_name(first)} by case or suffix only: correct the "
        f"table{others}"
    )


TABLE = Adapter(
    summary="images that a table lists: CSV, TSV, Parquet or text",
    find=find_table,
    layout="a table with a column of paths, a column of labels and, if you like, a column of splits: --table list.csv; "
    "or a table for each split: --table train.csv --table val.csv",
    takes=frozenset({"table", "image", "label", "split"}),
)
