"""Divide the rows of tables by a column of splits, where the names of the files say none."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocess.datasets.base import SPLITS, Request
from preprocess.datasets.columns import FLAGS, SPLIT_NAMES, meant_splits, squashed
from preprocess.datasets.shards import refuse_unknown_splits
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

# Of a row: the name of every column that may say its split, and what it says. Few of them differ, so they are shared.
Words = tuple[tuple[str, str], ...]

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
    """Whether a column is the one that is asked for; where none is, whether it has a usual name."""
    return name == request.split if request.split is not None else squashed(name) in SPLIT_NAMES | FLAGS.keys()


def word(value: Any, names: tuple[str, ...] | None = None) -> str:
    """A value as text; a number with names, as ``ClassLabel`` has them, is its name."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        value = names[value]
    return "" if value is None else str(value)[:_LONGEST]


def divide(where: Path, rows: Collection[Words], request: Request) -> Division:
    """Choose the column that is asked for, or else the one whose values all are words for splits.

    Parameters
    ----------
    where : the data set, for messages.
    rows : the words of all rows, each once.

    Raises
    ------
    DatasetError : two columns divide the rows in two ways, or the values of the one that is asked for are no splits.
    """
    meant = _meant(rows)
    if request.split is not None:
        return _asked(where, meant.get(request.split, {}), rows, request)
    fit = [name for name, splits in meant.items() if set(splits.values()) <= set(SPLITS)]
    divisions = [_split_of(name, meant[name], rows) for name in fit]
    if any(other != divisions[0] for other in divisions):
        shown = " or ".join(repr(shown_name(name)) for name in fit)
        raise DatasetError(f"{where}: splits may be in column {shown}; choose with --split NAME")
    notes = [_not_read(name, splits, bool(fit)) for name, splits in meant.items() if name not in fit]
    if not fit:
        return Division({}, tuple(notes))
    refuse_unknown_splits(where, dict.fromkeys(meant[fit[0]].values()), request)
    return Division(divisions[0], (f"splits from column {shown_name(fit[0])!r}", *notes))


def compare(split: str, rows: Collection[Words], alone: bool) -> tuple[str, ...]:
    """Say where a column of splits contradicts the names of files; ``alone`` if these name one split."""
    notes = []
    for name, splits in _meant(rows).items():
        others = sorted(set(splits.values()) - {split})
        if others and set(others) <= set(SPLITS):
            way = f"; --split {shown_name(name)} takes the splits from it" if alone else ""
            notes.append(
                f"warning: column {shown_name(name)!r} is not read, the names of the files say the splits; of "
                f"{split} it says {', '.join(others)} too{way}"
            )
    return tuple(notes)


def _asked(where: Path, splits: dict[str, str], rows: Collection[Words], request: Request) -> Division:
    name = request.split or ""
    known, others = _sorted(splits)
    if request.splits is None and others:
        way = f", or leave the others out with --splits {','.join(known)}" if known else ""
        raise DatasetError(
            f"{where}: column {shown_name(name)!r} has values that are no words for train, val or test: "
            f"{_shown(others)}; write these words{way}"
        )
    refuse_unknown_splits(where, dict.fromkeys(shown_name(each) for each in (*known, *others)), request)
    return Division(_split_of(name, splits, rows), (f"splits from column {shown_name(name)!r}",))


def _meant(rows: Collection[Words]) -> dict[str, dict[str, str]]:
    """The splits that the values of every column mean; a row without the column has an empty value."""
    names = sorted({name for words in rows for name, _ in words})
    return {name: meant_splits(name, {dict(words).get(name, "") for words in rows}) for name in names}


def _split_of(name: str, splits: dict[str, str], rows: Collection[Words]) -> dict[Words, str]:
    return {words: splits[dict(words).get(name, "")] for words in rows}


def _not_read(name: str, splits: dict[str, str], divided: bool) -> str:
    known, others = _sorted(splits)
    way = "" if divided else "; to divide by it, write these words there"
    if "train" in known and not divided:
        way = f"; to divide by it, say --split {shown_name(name)} --splits {','.join(known)}"
    return (
        f"column {shown_name(name)!r} is not read for splits, it has values that are no words for train, val or test: "
        f"{_shown(others)}{way}"
    )


def _sorted(splits: dict[str, str]) -> tuple[list[str], list[str]]:
    """The splits, and other values."""
    values = set(splits.values())
    return [split for split in SPLITS if split in values], sorted(values - set(SPLITS))


def _shown(values: list[str]) -> str:
    return listed([repr(shown_name(each)) for each in values], _SHOWN)
