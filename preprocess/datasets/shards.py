"""What stores of other people share: splits by the names of files, classes by labels, keys that are unique."""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.datasets.base import SPLITS, Request, split_name
from preprocess.datasets.classes import note_lacking, refuse_unlearnt, unlabelled
from preprocess.datasets.levels import kinds_in
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

Label = int | str | None  # a number, a name, or none

LABELS = (
    "label",
    "labels",
    "fine_label",
    "class",
    "class_label",
    "class_id",
    "class_name",
    "category",
    "target",
    "cls",
)
_SHOWN = 5
_NUMBER = re.compile(r"(0|-?[1-9]\d{0,8})(?:\.0+)?")  # 3, and 3.0 as pandas writes it
_PART = re.compile(r"[-_](\d{1,9})([-_]of[-_](\d{1,9}))")  # of train-00000-of-00003.parquet
_RUNNING = re.compile(r"(.*?)(\d{1,9})(\D*)")
_MOST_LACKING = 10  # times the files that are there; more are no gaps: the numbers are dates or ids


def split_in(path: Path) -> str | None:
    """Return the split that a relative path names: a word of the file's name, else of the nearest folder's.

    Words are those of folders of images, such as ``testset`` and the last of ``imagenetVal``.

    Raises
    ------
    DatasetError : one name has the words of two splits.
    """
    for part in reversed(path.parts):
        words = {split_name(word) for word in re.findall("[A-Za-z]+", part)}
        if "trainval" not in part.lower():  # it may hold the images of a file of val
            words.update(kinds_in(part))
        found = sorted(words & set(SPLITS))
        if len(found) > 1:
            raise DatasetError(f"{path}: the name {part} is of both {found[0]} and {found[1]}; rename it")
        if found:
            return found[0]
    return None


def by_split(home: Path, files: Iterable[Path], request: Request) -> tuple[dict[str, list[Path]], bool]:
    """Sort files into splits by their paths below ``home``. Without any split, all are in ``train``.

    Returns
    -------
    The files of each split, also of those that nobody asked for; and whether there is no split.

    Raises
    ------
    DatasetError : some files name a split and others do not, and ``request.splits`` does not leave them out; or a split
        that is asked for has no files.
    """
    found: dict[str | None, list[Path]] = {}
    for path in files:
        found.setdefault(split_in(path.relative_to(home)), []).append(path)
    others = found.pop(None, [])
    if not found:
        return {"train": others}, True
    splits = {name: found[name] for name in SPLITS if name in found}
    if others and request.splits is None:
        raise DatasetError(
            f"{others[0]} names no split, as {next(iter(splits.values()))[0]} does; put train, val or test into its "
            f"name, or leave it out with --splits {','.join(splits)}"
        )
    refuse_unknown_splits(home, splits, request)
    return splits, False


def refuse_unknown_splits(home: Path, splits: Mapping[str, object], request: Request) -> None:
    """Raise a DatasetError if a split is asked for that is not there."""
    if unknown := [name for name in request.splits or () if name not in splits]:
        raise DatasetError(f"{home} has no split {unknown[0]!r}; it has {', '.join(splits)}")


def refuse_missing_parts(files: Iterable[Path]) -> None:
    """Raise a DatasetError if files that say that they are number N of M are not all there, or one is there twice."""
    groups: dict[tuple[Path, str], dict[int, tuple[Path, re.Match[str]]]] = {}
    for path in files:
        if part := _PART.search(path.name):
            group = groups.setdefault((path.parent, path.name[: part.start()]), {})
            other, _ = group.setdefault(int(part[1]), (path, part))
            if other is not path:
                raise DatasetError(
                    f"{other} and {shown_name(path.name)} are both number {part[1]}: each image may be there twice; "
                    f"move one of them away, or, if both are wanted, rename the second to {_without_total(path, part)}"
                )
    for (folder, name), group in groups.items():
        path, part = max(group.values(), key=lambda each: int(each[1][3]))
        total = int(part[3])
        first = int(0 not in group and total in group)  # some count from 1
        lacking = total - sum(first <= number < first + total for number in group)
        if lacking:
            numbers = (str(number) for number in range(first, first + total) if number not in group)
            raise DatasetError(
                f"{folder}: {lacking:,} of {total:,} files {shown_name(name)}... are missing: number "
                f"{_counted(numbers, lacking)}; fetch them, or, to build from a part, take {part[2]} out of the names "
                f"of the others, as in {_without_total(path, part)}"
            )


def note_gaps(files: Iterable[Path]) -> list[str]:
    """Return warnings of numbers that are missing among files whose names are equal but for a number."""
    groups: dict[tuple[Path, str, str], set[int]] = {}
    for path in files:
        if match := _RUNNING.fullmatch(path.name):
            groups.setdefault((path.parent, match[1], match[3]), set()).add(int(match[2]))
    notes = []
    for (_, before, after), found in groups.items():
        lacking = max(found) - min(found) + 1 - len(found)
        if 0 < lacking <= _MOST_LACKING * len(found):
            numbers = (str(number) for number in range(min(found), max(found)) if number not in found)
            notes.append(
                f"warning: numbers are missing among the {len(found):,} files {shown_name(before)}NUMBER"
                f"{shown_name(after)}: {_counted(numbers, lacking)}; if they are parts of the set, fetch them"
            )
    return notes


def _without_total(path: Path, part: re.Match[str]) -> str:
    return shown_name(path.name[: part.start(2)] + path.name[part.end() :])


def _counted(numbers: Iterable[str], count: int) -> str:
    shown = ", ".join(itertools.islice(numbers, _SHOWN))
    return shown + (f" and {count - _SHOWN:,} more" if count > _SHOWN else "")


@dataclass(frozen=True)
class Numbered:
    """Labels as numbers: class names, and for every split a number or None for each of its images."""

    classes: tuple[str, ...]
    labels: dict[str, list[int | None]]
    notes: tuple[str, ...]
    left_out: dict[str, tuple[int, str]]  # of a listing


def number_labels(values: Mapping[str, Sequence[Label]], names: Sequence[str] | None, request: Request) -> Numbered:
    """Number labels, which are numbers or names; None, -1 and words such as NA mean that there is none.

    Parameters
    ----------
    values : split -> the label of every image; with ``train`` if it is there, even if nobody asks for it.
    names : class names in the order of their numbers; None if the labels in ``train`` are all that is known. These are
        sorted, by value if all are numbers.
    request : the splits to number.

    Raises
    ------
    DatasetError : a label has no class, a class of another split is not in ``train``, or a split that is asked for has
        no labels at all.
    """
    values, notes = _without_none(values, names or ())
    read = _unified(values)
    names = None if names is None else tuple(unicodedata.normalize("NFC", name) for name in names)
    place = _places(read, names)
    classes = tuple(map(str, place)) if names is None else names
    labels: dict[str, list[int | None]] = {}
    first: list[str] = []  # the split and number of every image without a label
    for split, mine in read.items():
        if not request.wants(split):
            continue
        numbers = [None if value is None else place.get(value) for value in mine]
        _refuse_unplaced(split, mine, numbers, classes)
        lost = numbers.count(None)
        first += [f"{split}: number {number}" for number, each in enumerate(numbers, start=1) if each is None]
        if lost == len(mine) and request.splits is None and len(read) > 1:
            notes.append(f"warning: {split} is left out: none of its {lost:,} images has a label")
            continue
        if lost == len(mine):
            raise DatasetError(f"{split}: none of its {lost:,} images has a label, so no store can be built of it")
        if lost:
            notes.append(
                f"warning: {split}: {lost:,} of {len(mine):,} images have no label (none, or -1) and are left out, the "
                f"first is number {numbers.index(None) + 1:,}"
            )
        labels[split] = numbers
    notes += _compare(classes, labels, "train" if names is None and "train" in values else "")
    return Numbered(classes, labels, tuple(notes), {"images without a label": (len(first), first[0])} if first else {})


def unique(keys: Iterable[str]) -> tuple[list[str], int]:
    """Append ``-2``, ``-3``, ... to the names of keys that were there before; also count these."""
    taken: set[str] = set()
    last: dict[str, int] = {}
    found, changed = [], 0
    for key in keys:
        mine = key
        if key in taken:
            changed += 1
            folder, slash, name = key.rpartition("/")
            stem, dot, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
            while mine in taken:
                last[key] = last.get(key, 1) + 1
                mine = f"{folder}{slash}{stem}-{last[key]}{dot}{suffix}"
        taken.add(mine)
        found.append(mine)
    return found, changed


def _without_none(
    values: Mapping[str, Sequence[Label]], names: Sequence[str]
) -> tuple[dict[str, Sequence[Label]], list[str]]:
    """Labels with None for words that mean none, which are no names of classes; and notes."""
    labels = {split: {str(value) for value in mine if value not in (None, -1, "-1")} for split, mine in values.items()}
    none, notes = unlabelled({split: mine.difference(names) for split, mine in labels.items()})
    read = {
        split: [None if value in none[split] else value for value in mine] if none[split] else mine
        for split, mine in values.items()
    }
    return read, notes


def _unified(values: Mapping[str, Sequence[Label]]) -> dict[str, list[Label]]:
    """Labels without -1; texts become numbers if all of them are numbers."""
    distinct = {value for mine in values.values() for value in mine if value is not None}
    texts = {value for value in distinct if isinstance(value, str)}
    numbers = {text: int(found[1]) for text in texts if (found := _NUMBER.fullmatch(text))}
    if len(numbers) == len(texts):
        meant: dict[Label, Label] = {text: None if number == -1 else number for text, number in numbers.items()}
    elif len(texts) < len(distinct):
        number = next(value for value in distinct if not isinstance(value, str))
        raise DatasetError(f"expected labels that are all numbers or all names, got {number} and {min(texts)[:60]!r}")
    else:
        meant = {text: unicodedata.normalize("NFC", text) for text in texts}
    meant |= {-1: None, "-1": None, None: None}
    return {split: [meant.get(value, value) for value in mine] for split, mine in values.items()}


def _places(values: Mapping[str, Sequence[Label]], names: Sequence[str] | None) -> dict[Label, int]:
    """Return the number of every label."""
    if names is not None:
        return {name: number for number, name in enumerate(names)} | {number: number for number in range(len(names))}
    first = [values["train"]] if "train" in values else values.values()
    distinct = {value for mine in first for value in mine if value is not None}
    return {value: number for number, value in enumerate(sorted(distinct))}


def _refuse_unplaced(
    split: str, values: Sequence[Label], numbers: Sequence[int | None], classes: Sequence[str]
) -> None:
    odd = {value for value, number in zip(values, numbers, strict=True) if number is None and value is not None}
    if odd:
        shown = listed([shown_name(str(value)[:60]) for value in sorted(odd, key=str)], _SHOWN)
        raise DatasetError(
            f"{split} has labels without a class: {shown}; the {len(classes):,} classes are "
            f"{listed(list(map(shown_name, classes)), _SHOWN)}"
        )


def _compare(classes: Sequence[str], labels: Mapping[str, Sequence[int | None]], first: str) -> list[str]:
    """Warn of classes that splits lack; refuse those that only ``train`` lacks."""
    notes = []
    found = {split: {classes[number] for number in mine if number is not None} for split, mine in labels.items()}
    for split, names in found.items():
        remedy = "give train samples of them, leave these out"
        refuse_unlearnt(names - found.get("train", names), split, "train", remedy)
        notes += note_lacking(classes, names, split, first)
    return notes
