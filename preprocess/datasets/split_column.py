"""Divide the rows of tables by a column of splits, where the names of the files say none."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocess.datasets.base import SPLITS, Request, split_name
from preprocess.datasets.columns import FLAGS, SPLIT_NAMES, flagged, is_flag, squashed
from preprocess.datasets.shards import refuse_unknown_splits
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

# Of a row: the name of every column that may say its split, and what it says. Few of them differ, so they are shared.
Words = tuple[tuple[str, str], ...]
# Of the name of a column, or of those of all flags: the split of every row, or what it says instead; empty where flags
# say none or several.
Meant = dict[tuple[str, ...], dict[Words, str]]

_SHOWN = 5
_LONGEST = 60  # characters of a value


@dataclass(frozen=True)
class Division:
    """The split of rows by their words; empty if no column says it. ``notes`` are for the terminal."""

    split_of: dict[Words, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_to_divide(root: Path, splits: Collection[str], request: Request) -> bool:
    """Whether a column that is asked for is to divide the only split that files name."""
    if request.split is not None and len(splits) > 1:
        raise DatasetError(
            f"{root} is divided by the names of its files already, into {', '.join(map(shown_name, splits))}; "
            f"leave out --split {shown_name(request.split)}"
        )
    return request.split is not None


def may_divide(name: str, request: Request) -> bool:
    """Whether a column is asked for, also as one of several flags; where none is, whether it has a usual name."""
    if request.split is None:
        return squashed(name) in SPLIT_NAMES | FLAGS.keys()
    return name == request.split or {squashed(name), squashed(request.split)} <= FLAGS.keys()


def word(value: Any, names: tuple[str, ...] | None = None) -> str:
    """A value as text; a number with names, as ``ClassLabel`` has them, is its name."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        value = names[value]
    return "" if value is None else str(value)[:_LONGEST]


def divide(where: Path, rows: Collection[Words], request: Request) -> Division:
    """Choose the column that is asked for, or else the one whose values all are words for splits; flags are one.

    Parameters
    ----------
    where : the data set, for messages.
    rows : the words of all rows, each once.

    Raises
    ------
    DatasetError : two columns divide the rows in two ways, the values of the one that is asked for are no splits, or
        flags say none or several splits of a row.
    """
    meant = _meant(rows)
    if request.split is not None:
        return _asked(where, meant, request)
    fit = [names for names, splits in meant.items() if set(splits.values()) <= set(SPLITS)]
    if any(meant[other] != meant[fit[0]] for other in fit):
        shown = " or ".join(repr(shown_name(name)) for names in fit for name in names)
        raise DatasetError(f"{where}: splits may be in column {shown}; choose with --split NAME")
    notes = [_not_read(names[0], splits, bool(fit)) for names, splits in meant.items() if names not in fit]
    if not fit:
        for names, splits in meant.items():
            _refuse_unsaid(where, names, splits)
        return Division({}, tuple(notes))
    refuse_unknown_splits(where, dict.fromkeys(meant[fit[0]].values()), request)
    return Division(meant[fit[0]], (f"splits from {_columns(fit[0])}", *notes))


def compare(split: str, rows: Collection[Words], alone: bool) -> tuple[str, ...]:
    """Say where a column of splits contradicts the names of files; ``alone`` if these name one split."""
    notes = []
    for names, splits in _meant(rows).items():
        others = sorted(set(splits.values()) - {split})
        if others and set(others) <= set(SPLITS):
            way = f"; --split {shown_name(names[0])} takes the splits from it" if alone else ""
            notes.append(
                f"warning: {_columns(names)} {'are' if len(names) > 1 else 'is'} not read, the names of the files say "
                f"the splits; of {split} it says {', '.join(others)} too{way}"
            )
    return tuple(notes)


def _asked(where: Path, meant: Meant, request: Request) -> Division:
    names, splits = next(((names, splits) for names, splits in meant.items() if request.split in names), ((), {}))
    _refuse_unsaid(where, names, splits)
    known, others = _sorted(splits)
    if request.splits is None and others:
        way = f", or leave the others out with --splits {','.join(known)}" if known else ""
        raise DatasetError(
            f"{where}: {_columns(names)} has values that are no words for train, val or test: {_shown(others)}; write "
            f"these words{way}"
        )
    refuse_unknown_splits(where, dict.fromkeys(shown_name(each) for each in (*known, *others)), request)
    return Division(splits, (f"splits from {_columns(names)}",))


def _meant(rows: Collection[Words]) -> Meant:
    """The splits that columns mean; a row without a column has an empty value."""
    names = sorted({name for words in rows for name, _ in words})
    cells = {words: {**dict.fromkeys(names, ""), **dict(words)} for words in rows}
    flags = tuple(name for name in names if is_flag(name, (each[name] for each in cells.values())))
    meant: Meant = {
        (name,): {words: split_name(each[name]) for words, each in cells.items()} for name in names if name not in flags
    }
    if flags:
        meant[flags] = {words: flagged(flags, [each[name] for name in flags]) for words, each in cells.items()}
    return meant


def _refuse_unsaid(where: Path, names: tuple[str, ...], splits: dict[Words, str]) -> None:
    """Refuse rows whose flags say no split, or several."""
    cells = {words: [dict(words).get(name, "") for name in names] for words in splits}
    if not names or not is_flag(names[0], (each[0] for each in cells.values())):
        return
    if odd := [", ".join(map(repr, cells[words])) for words, split in splits.items() if not split]:
        raise DatasetError(
            f"{where}: none or several splits in {_columns(names)}, such as {shown_name(odd[0])}; write 1 or 0, and 1 "
            "for one split of each row"
        )


def _columns(names: tuple[str, ...]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {', '.join(repr(shown_name(name)) for name in names)}"


def _not_read(name: str, splits: dict[Words, str], divided: bool) -> str:
    known, others = _sorted(splits)
    way = "" if divided else "; to divide by it, write these words there"
    if "train" in known and not divided:
        way = f"; to divide by it, say --split {shown_name(name)} --splits {','.join(known)}"
    return (
        f"column {shown_name(name)!r} is not read for splits, it has values that are no words for train, val or test: "
        f"{_shown(others)}{way}"
    )


def _sorted(splits: dict[Words, str]) -> tuple[list[str], list[str]]:
    """The splits, and other values."""
    values = set(splits.values())
    return [split for split in SPLITS if split in values], sorted(values - set(SPLITS))


def _shown(values: list[str]) -> str:
    return listed([repr(shown_name(each)) for each in values], _SHOWN)
