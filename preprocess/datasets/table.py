"""Images that a table lists, with their labels and perhaps their splits."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import EVERYTHING, SPLITS, Adapter, Listing, Request, Sample, split_name
from preprocess.datasets.classes import note_lacking, refuse_unlearnt
from preprocess.datasets.columns import FLAGS, Columns, choose_columns, squashed, truth
from preprocess.datasets.lookup import Found, Lookup, beside, end_of, folders_of, folders_with_all, in_the_root, look_up
from preprocess.datasets.paths import better_root, clean, is_address, is_inside, is_same
from preprocess.datasets.rows import open_table
from preprocess.errors import DatasetError, MissingDataError, PreprocessError
from preprocess.text import listed, shown_name

_SHOWN = 5
_LONGEST = 100  # characters of a cell in a message
# Folders of tables, in small letters: the images of the set may be beside them.
_PARTS = re.compile(r"annos?|annotations?|labels?|meta|metadata|lists?|splits?|csv|tables?|gt|ground_?truth")
_NUMBER = re.compile(r"([+-]?(?:0|[1-9]\d{0,14}))(?:\.0+)?")  # 3, and 3.0 as pandas writes it


@dataclass(frozen=True)
class _Rows:
    """The rows of a table, column by column. ``splits`` holds ``train`` for all if the table has none."""

    path: Path
    unit: str
    numbers: Sequence[int]
    images: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]

    def where(self, places: Sequence[int]) -> str:
        """Say which lines these rows are: "lines 3, 4 and 7 more"."""
        shown = listed([self.numbers[place] for place in places], _SHOWN)
        return f"{self.unit}{'s' if len(places) > 1 else ''} {shown}"

    def taken(self, keep: Callable[[int], bool]) -> "_Rows":
        """Those rows whose places ``keep`` accepts."""
        chosen = [place for place in range(len(self.numbers)) if keep(place)]
        if len(chosen) == len(self.numbers):
            return self
        columns = (self.numbers, self.images, self.labels, self.splits)
        return _Rows(self.path, self.unit, *([column[place] for place in chosen] for column in columns))


def find_table(root: Path, request: Request = EVERYTHING) -> Listing:
    """List the images of a table: CSV, TSV or Parquet, or lines ``path label``.

    ``root`` is the folder that the paths are relative to. Columns are those that ``request`` names, or are guessed from
    their names and from the files that exist; the notes say which. Classes are the labels of ``train``: names sorted as
    texts, or numbers sorted as numbers. Samples keep the order of the table; keys are relative to the root.

    Raises
    ------
    MissingDataError : there is no table, or no folder ``root``.
    DatasetError : the table cannot be read, or a column cannot be told; a row has no image, no label, or one that
        another row has; a file is missing. The message names lines.
    """
    if request.table is None:
        raise MissingDataError("say which table lists the images: --table list.csv")
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}; give the folder of the images with --root")
    columns = choose_columns(open_table(request.table), root, request)
    rows, undivided = _divided(_read(columns), columns, request)
    rows, notes = _labelled(rows, request)
    classes, label_of, told = _classes(rows, columns.names[columns.label])
    lacking = _compare(rows, classes, label_of)
    rows = rows.taken(lambda place: request.wants(rows.splits[place]))
    samples: dict[str, list[Sample]] = {split: [] for split in _ordered(rows.splits)}
    keys, found = _keys(rows, root, columns)
    for key, label, split in zip(keys, rows.labels, rows.splits, strict=True):
        samples[split].append(Sample(key, label_of[label], root / key))
    inside = os.path.relpath(request.table, root)
    return Listing(
        classes,
        {split: tuple(each) for split, each in samples.items()},
        undivided=undivided,
        tables=() if inside.startswith("..") else (root / inside,),
        notes=(*columns.notes, *found, *told, *notes, *lacking),
    )


def _read(columns: Columns) -> _Rows:
    chosen = tuple(place for place in (columns.image, columns.label, columns.split) if place is not None)
    numbers, images, labels, splits = [], [], [], []
    texts: dict[str, str] = {}  # a label is in memory once, however many rows have it
    read = columns.table.read(chosen)
    if columns.header:
        next(read)
    for number, (image, label, *split) in read:
        numbers.append(number)
        images.append(clean(image))
        labels.append(texts.setdefault(label, normalize("NFC", label)))
        splits.append(texts.setdefault(split[0], split[0]) if split else "train")
    return _Rows(columns.table.path, columns.table.unit, numbers, images, labels, splits)


# --------------------------------------------------------------------------------------------------------- splits


def _divided(rows: _Rows, columns: Columns, request: Request) -> tuple[_Rows, bool]:
    """Name the splits as a store does; whether there are none."""
    if columns.split is None:
        return rows, True
    name = columns.names[columns.split]
    words = _words(set(rows.splits), FLAGS.get(squashed(name)))
    if empty := [place for place, split in enumerate(rows.splits) if not split]:
        raise DatasetError(
            f"{rows.path}: no split in column {name!r} in {rows.where(empty)}; write train, val or test there"
        )
    known = [split for split in SPLITS if split in words.values()]
    others = sorted(set(words.values()) - set(known))
    held = listed([shown_name(split[:_LONGEST]) for split in known + others], _SHOWN)
    if request.splits is None and others:
        raise DatasetError(
            f"{rows.path}: column {name!r} has values that are no words for train, val or test: "
            f"{listed([repr(each[:_LONGEST]) for each in others], _SHOWN)}; write these words"
            + (f", or leave the others out with --splits {','.join(known)}" if "train" in known else "")
        )
    if unknown := [split for split in request.splits or () if split not in words.values()]:
        raise DatasetError(f"{rows.path} has no rows of the split {unknown[0]!r}; it has {held}")
    if "train" not in known:
        raise DatasetError(f"{rows.path}: column {name!r} has no rows of train, which has the classes; it has " + held)
    named = [words[split] for split in rows.splits]
    rows = _Rows(rows.path, rows.unit, rows.numbers, rows.images, rows.labels, named)
    return rows.taken(lambda place: named[place] == "train" or request.wants(named[place])), False


def _words(values: Iterable[str], flag: tuple[str, str] | None) -> dict[str, str]:
    """Split by value; ``flag`` holds those that yes and no mean."""
    found = {}
    for value in values:
        yes = truth(value) if flag else None
        found[value] = split_name(value) if yes is None else flag[not yes]
    return found


def _labelled(rows: _Rows, request: Request) -> tuple[_Rows, list[str]]:
    """Leave out splits whose rows all lack labels, such as the test split of a contest; refuse other such rows."""
    unlabelled: dict[str, list[int]] = {}
    for place, label in enumerate(rows.labels):
        if label.lower() in ("", "nan", "-1"):
            unlabelled.setdefault(rows.splits[place], []).append(place)
    counts = Counter(rows.splits)
    gone, notes = set(), []
    for split, places in unlabelled.items():
        if split != "train" and len(places) == counts[split] and not (request.splits and split in request.splits):
            gone.add(split)
            notes.append(
                f"warning: {rows.path.name}: the split {split} has no labels and is left out: {rows.where(places)}"
            )
        elif empty := [place for place in places if rows.labels[place] != "-1"]:
            raise DatasetError(
                f"{rows.path}: no label in {rows.where(empty)}, of {split}; write their labels, or delete these rows"
            )
    return (rows.taken(lambda place: rows.splits[place] not in gone) if gone else rows), notes


# -------------------------------------------------------------------------------------------------------- classes


def _classes(rows: _Rows, column: str) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Return the classes, the label for each text of a label, and notes."""
    names = {label for label, split in zip(rows.labels, rows.splits, strict=True) if split == "train"}
    numbers = {label: found for label in set(rows.labels) if (found := _NUMBER.fullmatch(label))}
    if len(numbers) < len(set(rows.labels)):
        ordered = sorted(names)
        return tuple(ordered), {name: label for label, name in enumerate(ordered)}, []
    used = sorted({int(numbers[name][1]) for name in names})
    label_of = {number: label for label, number in enumerate(used)}
    notes = [f"classes: the numbers from {used[0]} to {used[-1]} in column {column!r}"] if used else []
    if used != list(range(len(used))):
        notes[0] += f"; there are {len(used):,}: class {used[0]} has label 0, class {used[-1]} label {len(used) - 1}"
    found = {text: label_of[int(match[1])] for text, match in numbers.items() if int(match[1]) in label_of}
    return tuple(map(str, used)), found, notes


def _compare(rows: _Rows, classes: Sequence[str], label_of: dict[str, int]) -> list[str]:
    """Refuse labels of other splits that ``train`` lacks; return notes on classes that splits lack."""
    notes = []
    for split in _ordered(rows.splits):
        labels = {label for label, each in zip(rows.labels, rows.splits, strict=True) if each == split}
        where = f"{rows.path.name}: the split {split}"
        refuse_unlearnt(labels - label_of.keys(), where, "train", "add rows of them to train, delete their rows")
        notes += note_lacking(classes, {classes[label_of[label]] for label in labels}, where, "train")
    return notes


def _ordered(splits: Iterable[str]) -> list[str]:
    found = set(splits)
    return [split for split in SPLITS if split in found] + sorted(found.difference(SPLITS))


# ---------------------------------------------------------------------------------------------------------- files


def _keys(rows: _Rows, root: Path, columns: Columns) -> tuple[list[str], list[str]]:
    """Return the paths of the files, relative to the root, and notes; all of them exist."""
    _refuse_rows(rows, "no path of an image", "write their paths, or delete these rows", lambda image: not image)
    _refuse_rows(
        rows,
        f"column {columns.names[columns.image]!r} holds addresses, not files,",
        "download the images, and list their files",
        is_address,
    )
    way, notes = columns.way, []
    if isinstance(way, Lookup):
        way, notes = _looked_up(rows, root)
    keys = [way.key(image) for image in rows.images]
    missing = [place for place, key in enumerate(keys) if not _is_file(root, key)]
    if missing:
        raise DatasetError(_advise(rows, root, keys, missing))
    seen: dict[str, int] = {}
    repeated = [place for place, key in enumerate(keys) if seen.setdefault(key, place) != place]
    if repeated:
        shown = [
            f"{shown_name(keys[place])} in {rows.where([seen[keys[place]], place])}" for place in repeated[:_SHOWN]
        ]
        more = f" and {len(repeated) - _SHOWN:,} more" if len(repeated) > _SHOWN else ""
        raise DatasetError(f"{rows.path} lists images twice: {', '.join(shown)}{more}; keep one row for each image")
    return keys, notes


def _is_file(root: Path, key: str) -> bool:
    return is_inside(key) and os.path.isfile(f"{root}/{key}")  # noqa: PTH113 - millions of them


def _refuse_rows(rows: _Rows, what: str, remedy: str, is_odd: Callable[[str], bool]) -> None:
    if odd := [place for place, image in enumerate(rows.images) if is_odd(image)]:
        raise DatasetError(f"{rows.path}: {what} in {rows.where(odd)}; {remedy}")


def _looked_up(rows: _Rows, root: Path) -> tuple[Lookup, list[str]]:
    """Find the images by the ends of their paths: each is there once, or nothing is guessed."""
    found = look_up(root, rows.images)
    direct = in_the_root(found)
    if direct is None:
        _refuse_choice(rows, root, found)
    found = direct or found
    if not all(found.values()):
        return Lookup(root, found), []
    counts = [f"{shown_name(folder) or 'the root'} ({count:,})" for folder, count in sorted(folders_of(found).items())]
    return Lookup(root, found), [f"{rows.path.name}: images are looked up by name, in {listed(counts, _SHOWN)}"]


def _refuse_choice(rows: _Rows, root: Path, found: Found) -> None:
    """Refuse ends of paths that several files have, and images beside the folder of the table that fit as well."""
    twice = [place for place, image in enumerate(rows.images) if len(found.get(end_of(image), ())) > 1]
    is_part = is_same(root, rows.path.parent) and _PARTS.fullmatch(root.absolute().name.lower())
    near = beside(root, found) if is_part else []
    if not twice and (not near or not all(found.values())):
        return
    folders = [root / folder for folder in folders_with_all(found)]
    if not twice:
        inside = listed([shown_name(root / folder) for folder in folders_of(found)], _SHOWN)
        other = "" if folders else f", or move the table to another folder and say --root {shown_name(root)}"
        raise DatasetError(
            f"{rows.path}: its images may be those in {inside}, or those in "
            f"{listed(list(map(shown_name, near)), _SHOWN)}; choose with {_roots(folders, near)}{other}"
        )
    shown = [
        f"{rows.unit} {rows.numbers[place]}: {shown_name(listed(found[end_of(rows.images[place])], 2))}"
        for place in twice[:_SHOWN]
    ]
    more = f"\n  and {len(twice) - _SHOWN:,} more" if len(twice) > _SHOWN else ""
    advice = (
        f"each of these folders has one image for every row: choose with {_roots(folders, near)}"
        if folders or near
        else "write the whole paths into the table, or move all but one of them out of the root"
    )
    raise DatasetError(
        f"{rows.path}: {len(twice):,} of {len(rows.images):,} images may be one of several files under {root}:\n  "
        + "\n  ".join(shown)
        + f"{more}\n{advice}"
    )


def _roots(*folders: Sequence[Path]) -> str:
    return listed([f"--root {shown_name(folder)}" for each in folders for folder in each], _SHOWN)


def _advise(rows: _Rows, root: Path, keys: Sequence[str], missing: Sequence[int]) -> str:
    shown = [f"{rows.unit} {rows.numbers[place]}: {shown_name(keys[place][:_LONGEST])}" for place in missing[:_SHOWN]]
    more = f"\n  and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    outside = any(not is_inside(keys[place]) for place in missing)
    return (
        f"{rows.path}: {len(missing):,} of {len(keys):,} images {'are not' if outside else 'are missing'} under "
        f"{root}:\n  " + "\n  ".join(shown) + f"{more}\n" + _remedy(rows, root, keys, missing)
    )


def _remedy(rows: _Rows, root: Path, keys: Sequence[str], missing: Sequence[int]) -> str:
    found: dict[str, list[str]] = {}
    with suppress(OSError, PreprocessError):  # of a folder that cannot be walked
        found = look_up(root, rows.images)
    folders = [root / folder for folder in folders_with_all(found)] if len(found) == len(set(rows.images)) else []
    if is_same(root, rows.path.parent) and not folders:
        folders = beside(root, map(end_of, rows.images))
    if not folders and (other := better_root(root, rows.path.parent, rows.images, keys)):
        folders = [other]
    if folders:
        return f"all of them are found with {_roots(folders)}" + ("; choose one" if len(folders) > 1 else "")
    if elsewhere := [key for place in missing for key in found.get(end_of(rows.images[place]), ())]:
        inside = sorted({shown_name(os.path.dirname(key)) or "the root" for key in elsewhere})  # noqa: PTH120
        return (
            f"files of these names are in {listed(inside, _SHOWN)}: write these paths into the table, or move the files"
        )
    if len(missing) == len(keys):
        return "give the folder that the paths start from with --root, or another column with --image"
    if list(missing) == [0] and rows.unit == "line":
        return "add this file, or delete its row; if it is a header line, name its column of images with --image"
    outside = any(not is_inside(keys[place]) for place in missing)
    return "add these files, or delete their rows" + (" (or move them under the root)" if outside else "")


TABLE = Adapter(
    summary="images that a table lists: CSV, TSV, Parquet or text",
    find=find_table,
    layout="a table with a column of paths, a column of labels and, if you like, a column of splits: --table list.csv",
    takes=frozenset({"table", "image", "label", "split"}),
)
