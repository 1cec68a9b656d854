"""The rows of tables that list images."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import SPLITS, split_name
from preprocess.datasets.columns import Columns, flagged, truth
from preprocess.datasets.paths import clean, common_folder
from preprocess.errors import DatasetError
from preprocess.text import listed, shown_name

SHOWN = 5  # rows, names or values in a message
LONGEST = 100  # characters of a cell in a message
LINE = 1 << 32  # more than the number of any line
_SEVERAL = "\0"  # the label of a row that has not one; no text has this letter


@dataclass(frozen=True)
class Rows:
    """The rows of tables, column by column. ``splits`` holds ``train`` for all if there are none.

    A number holds that of the table, from 0, above the bits of ``LINE``, and that of the line.
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
        return listed([each.table.path for each in self.tables], SHOWN)

    @property
    def name(self) -> str:
        """As ``path``, but without folders."""
        return listed([each.table.path.name for each in self.tables], SHOWN)

    def columns(self, place: int) -> Columns:
        """Where the table of a row has what."""
        return self.tables[self.numbers[place] // LINE]

    def where(self, places: Sequence[int]) -> str:
        """Say which lines these rows are: "lines 3, 4 and 7 more"."""
        shown = [self._number(self.numbers[place]) for place in places[:SHOWN]]
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        return f"{self.tables[0].table.unit}{'s' if len(places) > 1 else ''} {', '.join(shown)}{more}"

    def _number(self, number: int) -> str:
        if len(self.tables) == 1:
            return str(number)
        return f"{os.path.relpath(self.tables[number // LINE].table.path, self.home)}:{number % LINE}"

    def taken(self, keep: Callable[[int], bool]) -> "Rows":
        """Those rows whose places ``keep`` accepts."""
        chosen = [place for place in range(len(self.numbers)) if keep(place)]
        if len(chosen) == len(self.numbers):
            return self
        columns = (self.numbers, self.images, self.labels, self.splits)
        return Rows(self.tables, *([column[place] for place in chosen] for column in columns))


def read_rows(tables: tuple[Columns, ...], named: Sequence[str]) -> Rows:
    """Read all rows; ``named`` are the splits of tables without a column of splits."""
    rows = Rows(tables, [], [], [], [])
    texts: dict[str, str] = {}  # a label is in memory once, however many rows have it
    for place, (columns, word) in enumerate(zip(tables, named, strict=True)):
        chosen = (columns.image, *columns.labels, *columns.splits)
        end = 1 + len(columns.labels)
        read = columns.table.read(chosen)
        if columns.header:
            next(read)
        for number, cells in read:
            label = cells[1] if end == 2 else _marked(columns.label_names, cells[1:end])
            rows.numbers.append(place * LINE + number)
            rows.images.append(clean(cells[0]))
            rows.labels.append(texts.setdefault(label, normalize("NFC", label)))
            said = cells[end:]
            split = flagged(columns.split_names, said) if columns.flags else said[0] if said else word
            rows.splits.append(texts.setdefault(split, split))
    if any(each.table.folders for each in tables):
        _refuse_merged(rows)
    if odd := [place for place, label in enumerate(rows.labels) if label == _SEVERAL]:
        raise DatasetError(
            f"{rows.path}: expected one 1 and else 0 in the columns {listed(tables[0].label_names, SHOWN)}, which are "
            f"classes; there are several labels, or none, in {rows.where(odd)}; one label per image is read: delete "
            "these rows, or name a column of labels with --label"
        )
    return rows


def _refuse_merged(rows: Rows) -> None:
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
