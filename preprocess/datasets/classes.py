"""The classes of a data set are those of its training split; the other splits may lack some."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from preprocess.errors import DatasetError
from preprocess.text import listed, near, shown_name

_SHOWN = 5
_NONE = frozenset(("na", "n/a", "nan", "none", "null", "<na>", "?"))  # as R, pandas and databases write a missing label
_NUMBER = re.compile(r"[+-]?\d+(?:\.0+)?")


def unlabelled(labels: Mapping[str, Collection[str]]) -> tuple[dict[str, set[str]], list[str]]:
    """Tell labels such as ``NA`` that mean none from classes of that name.

    They mean none where all other labels are numbers, or where a split has no others and ``train`` has none of them.

    Parameters
    ----------
    labels : split -> its different labels.

    Returns
    -------
    The labels of each split that mean none, and a warning of the others.
    """
    words = {split: {label for label in mine if label.lower() in _NONE} for split, mine in labels.items()}
    others = {label for split, mine in labels.items() for label in mine if label not in words[split]}
    is_number = bool(others) and all(map(_NUMBER.fullmatch, others))
    none, taken = {}, set()
    for split, mine in words.items():
        alone = len(mine) == len(labels[split]) and (split == "train" or mine.isdisjoint(labels.get("train", ())))
        none[split] = mine if is_number or alone else set()
        taken |= mine - none[split]
    if not taken:
        return none, []
    shown = listed(sorted(map(repr, taken)), _SHOWN)
    return none, [f"warning: the label {shown} is taken for a class; if it means that there is none, remove these rows"]


def refuse_unlearnt(unknown: Iterable[str], where: str, first: str, remedy: str, classes: Collection[str] = ()) -> None:
    """Raise a DatasetError for classes of a split, called ``where``, that are not in the training split ``first``.

    ``classes`` are those of the training split: one that may be meant is named.
    """
    if names := sorted(unknown):
        meant = {name: near(name, classes)[:1] for name in names[:_SHOWN]}
        shown = [f"{name!r} ({first} has {meant[name][0]!r})" if meant.get(name) else name for name in names]
        if any(meant.values()):
            remedy = f"if these are one class, give it one name; else {remedy}"
        raise DatasetError(
            f"{where} has classes that {first} lacks, which no network can learn: "
            f"{listed(list(map(shown_name, shown)), _SHOWN)}; {remedy}, or leave the split out: --splits train"
        )


def note_lacking(classes: Sequence[str], found: Collection[str], where: str, first: str) -> list[str]:
    """Return a warning of the classes that a split, called ``where``, lacks; nothing if it has all.

    ``first`` is the training split; empty if the names of the classes come from elsewhere.
    """
    if lacking := [shown_name(name) for name in classes if name not in found]:
        told = f"warning: {where} lacks {len(lacking):,} of {len(classes):,} classes: {listed(lacking, _SHOWN)}"
        return [f"{told}; the labels are those of {first}" if first else told]
    return []


def note_odd(classes: int, images: int, column: str) -> list[str]:
    """Return a warning if the labels of a column tell nothing apart, or everything; ``images`` are those of train.

    ``column`` is empty if the labels are folders of paths.
    """
    if images < 2 or classes not in (1, images):
        return []
    what = "all images are of one class" if classes == 1 else "every image has a class of its own"
    if not column:
        return [f"warning: {what}; if folders are no labels, write the label into each line: 'path label'"]
    return [f"warning: {what}; if column {shown_name(column)!r} is not that of the labels, choose with --label"]
