"""Account for every file and folder under a root: what is not taken is counted by reason, with an example."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from preprocess.datasets.base import SPLITS, split_name
from preprocess.datasets.tree import Level, format_at, suffix_of, walk
from preprocess.formats import remedy_of, suffixes
from preprocess.text import shown_name

LeftOut = dict[str, tuple[int, str]]  # reason -> (count, path of one of them, relative to the root)

_UNLISTED = "that are not listed"
_LONGEST = 16  # characters of a suffix
_TABLES = (".txt", ".csv", ".tsv")
_SHOWN = 8  # reasons on the terminal


def count_left_out(root: Path, taken: Collection[str], undivided: bool = False) -> LeftOut:
    """Count the files and folders under a root that are not in ``taken``, the paths of files as text.

    Hidden files and folders, and those that systems make, count as one each. Images that are not taken are told from
    other files by their names. The root, as "." or through a link, and ``taken`` may spell one folder differently. If
    the images are ``undivided``, tables with the name of a split are told, which may list the official one.

    Raises
    ------
    OSError, DatasetError : as for :func:`preprocess.datasets.tree.walk`.
    """
    found: LeftOut = {}

    def add(reason: str, level: Level, name: str) -> None:
        count, example = found.get(reason, (0, ""))
        found[reason] = count + 1, example or shown_name(os.path.relpath(f"{level.path}{os.sep}{name}", root))

    labels: dict[tuple[str, bool], str] = {}
    real = cache(os.path.realpath)
    spellings: dict[str, list[str]] = {}  # of each folder that holds what is taken
    for folder in {os.path.dirname(path) for path in taken}:  # noqa: PTH120 - text, as in walk
        spellings.setdefault(real(folder or "."), []).append(folder)
    for level in walk(root):
        here = spellings.get(real(level.path), ())
        for name in level.hidden:
            add("hidden", level, name)
        if not (level.files or level.folders or level.hidden) and level.path != os.fspath(root):
            add("empty folders", level, "")
        for name in level.files:
            if not any(os.path.join(folder, name) in taken for folder in here):  # noqa: PTH118
                kind = suffix_of(name), undivided and _may_list_splits(name)
                if kind not in labels:
                    labels[kind] = _label(level, name, *kind)
                add(labels[kind], level, name)
    return dict(sorted(found.items(), key=lambda item: (-item[1][0], item[0])))


def _may_list_splits(name: str) -> bool:
    words = map(str.lower, re.findall("[A-Za-z]+", name))
    return suffix_of(name) in _TABLES and any(split_name(word) in SPLITS or word.startswith("split") for word in words)


def _label(level: Level, name: str, suffix: str, lists_splits: bool) -> str:
    """Say what kind of file this is, by the first one of its suffix."""
    shown = shown_suffix(name)
    if lists_splits:
        return f"{shown} that may list the splits (build table reads such lists: --table FILE for each)"
    if suffix in suffixes():
        return f"{shown} {_UNLISTED}"
    remedy = remedy_of(format_at(level, name))
    return f"{shown} ({remedy})" if remedy else shown


def shown_suffix(name: str) -> str:
    """Suffix of a file, for messages."""
    return shown_name(suffix_of(name)[:_LONGEST]) or "without a suffix"


def count_unlisted(left_out: Mapping[str, tuple[int, str]]) -> int:
    """Count the images, by their names, that are under the root but not listed."""
    return sum(count for reason, (count, _) in left_out.items() if _UNLISTED in reason)


def name_splits(left_out: LeftOut, splits: Sequence[str]) -> LeftOut:
    """Say of the images that are not listed that only some splits were asked for."""
    asked = f" with --splits {','.join(splits)}"
    return {reason + asked * (_UNLISTED in reason): found for reason, found in left_out.items()}


def describe(left_out: Mapping[str, tuple[int, str]]) -> str:
    """Describe in words, as "412 .jxl (pip install pillow-jxl-plugin reads them), such as 1.jxl; 3 hidden, ..."."""
    parts = [f"{count:,} {reason}, such as {example}" for reason, (count, example) in left_out.items()]
    more = [f"{len(parts) - _SHOWN} other kinds"] if len(parts) > _SHOWN else []
    return "; ".join(parts[:_SHOWN] + more)
