"""Rows of Hugging Face tables become samples: keys, labels, boxes, splits."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from preprocess.datasets.arrow import Row
from preprocess.datasets.base import SPLITS, Box, Listing, Request, Sample
from preprocess.datasets.boxes import read_layout
from preprocess.datasets.lookup import alike
from preprocess.datasets.shards import Label, number_labels, unique
from preprocess.datasets.split_column import Words, compare, divide
from preprocess.errors import DatasetError
from preprocess.inputs import check_relative
from preprocess.text import listed, shown_name

LONGEST = 4096  # characters of a path
_SHOWN = 5
_EMBED = "save the data set with save_to_disk, which stores the images, and build from that folder"


class Entry(NamedTuple):
    """A row of a table."""

    path: str | None  # of the image, as the table says
    label: Label
    boxes: Any = None
    edges: tuple[Any, Any] = (None, None)  # width and height, if the table says so
    held: Row | None = None  # the image, if the table holds it
    words: Words = ()  # what columns of splits say
    table: Path = Path()
    row: int = 0  # of the table, as its messages count


@dataclass(frozen=True)
class Rows:
    """Turn the rows of tables into samples."""

    root: Path
    homes: dict[str, tuple[Path, ...]]  # folders that paths start from, by split
    request: Request
    undivided: bool
    boxes: str  # column
    names: tuple[str, ...] | None  # of the classes, if the tables say them
    notes: tuple[str, ...]
    tables: tuple[Path, ...]

    def divided_listing(self, entries: dict[str, list[Entry]]) -> Listing:
        """List the rows, which a column divides where no file names a split."""
        if not self.undivided:
            said = (compare(split, {each.words for each in mine}, len(entries) == 1) for split, mine in entries.items())
            return replace(self, notes=(*self.notes, *(note for each in said for note in each))).listing(entries)
        division = divide(self.root, {each.words for each in entries["train"]}, self.request)
        notes = (*self.notes, *division.notes)
        if not division.split_of:
            return replace(self, notes=notes).listing(entries)
        found: dict[str, list[Entry]] = {split: [] for split in SPLITS if split in division.split_of.values()}
        for each in entries["train"]:
            found.setdefault(division.split_of[each.words], []).append(each)
        homes = dict.fromkeys(found, self.homes["train"])
        return replace(self, homes=homes, undivided=False, notes=notes).listing(found)

    def listing(self, entries: dict[str, list[Entry]]) -> Listing:
        """List the rows of every split."""
        if empty := [split for split, mine in entries.items() if not mine]:
            raise DatasetError(f"{self.root}: the tables of {empty[0]} have no rows")
        values = {split: [each.label for each in mine] for split, mine in entries.items()}
        wanted = replace(self.request, splits=None) if self.undivided else self.request
        numbered = number_labels(values, self.names, wanted)
        shown = ((each.boxes, each.edges) for split in numbered.labels for each in entries[split])
        layout = read_layout(shown, self.boxes)
        said = [layout.note] if layout.note else []
        splits, files = {}, {}
        for split, labels in numbered.labels.items():
            folders = [self._folder(split, number, name) for number, name in enumerate(numbered.classes)]
            samples = [
                self._sample(split, each, label, folders[label], number, layout.of(each.boxes))
                for number, (each, label) in enumerate(zip(entries[split], labels, strict=True))
                if label is not None
            ]
            kept = [each for each, label in zip(entries[split], labels, strict=True) if label is not None]
            files[split] = [(each.key, row) for each, row in zip(samples, kept, strict=True) if row.held is None]
            keys, changed = unique(sample.key for sample in samples)
            pairs = zip(samples, keys, strict=True)
            splits[split] = tuple(each if each.key == key else replace(each, key=key) for each, key in pairs)
            if changed:
                said.append(
                    f"{split}: {changed:,} images have the name of another; -2, -3, ... was added to their keys"
                )
        self._refuse_missing(splits)
        self._refuse_repeated(files)
        return Listing(
            numbered.classes,
            splits,
            undivided=self.undivided,
            tables=self.tables,
            notes=(*self.notes, *said, *numbered.notes),
            left_out=numbered.left_out,
        )

    def _sample(self, split: str, entry: Entry, label: int, folder: str, number: int, boxes: tuple[Box, ...]) -> Sample:
        if entry.held is not None:
            return replace(entry.held, key=_key(entry.path, folder, number), label=label, boxes=boxes)
        path = self._path(split, entry.path)
        return Sample(path.relative_to(self.root).as_posix(), label, path, boxes)

    def _path(self, split: str, text: str) -> Path:
        """Where an image is that a table names."""
        paths = [home / text for home in self.homes[split]]
        if Path(text).is_absolute():
            inside = Path(text).is_relative_to(self.root.absolute())
            paths = [self.root / Path(text).relative_to(self.root.absolute())] if inside else []
        try:
            check_relative(paths[0].relative_to(self.root).as_posix() if paths else text)
        except ValueError:
            raise DatasetError(f"{split}: the image {text[:200]!r} lies outside of {self.root}; {_EMBED}") from None
        return next((path for path in paths if path.exists()), paths[-1])

    def _refuse_missing(self, splits: dict[str, tuple[Sample, ...]]) -> None:
        for split, samples in splits.items():
            missing = [each for each in samples if not isinstance(each, Row) and not each.path.exists()]
            if missing:
                there = alike(self.root, [missing[0].key]).get(missing[0].key)
                is_same = normalize("NFC", there or "") == normalize("NFC", missing[0].key)
                found = f"{shown_name(there or '')} is there{', in another Unicode form' if is_same else ''}"
                remedy = f"{found}: correct the table" if there else f"put them there, or {_EMBED}"
                raise DatasetError(
                    f"{split}: {len(missing):,} of {len(samples):,} images are missing, the first is "
                    f"{missing[0].path}; {remedy}"
                )

    def _refuse_repeated(self, files: dict[str, list[tuple[str, Entry]]]) -> None:
        """Refuse a file in two rows, which may have two labels, or be of two splits."""
        first: dict[str, tuple[str, Entry]] = {}
        rows = ((key, (split, row)) for split, mine in files.items() for key, row in mine)
        if not (repeated := [(key, row) for key, row in rows if first.setdefault(key, row) is not row]):
            return
        shown = [f"{shown_name(key)} in {self._where(*first[key])} and {self._where(*row)}" for key, row in repeated]
        tables = {each.table for key, (_, row) in repeated for each in (first[key][1], row)}
        move = "; if these tables list the same images, move all but one away" if len(tables) > 1 else ""
        raise DatasetError(
            f"{self.root}: files are listed twice: {listed(shown, _SHOWN)}; keep one row for each image{move}"
        )

    def _where(self, split: str, row: Entry) -> str:
        return f"row {row.row:,} of {shown_name(row.table.relative_to(self.root))} ({split})"

    def _folder(self, split: str, number: int, name: str) -> str:
        """The folder that a class would have in a folder of images."""
        plain = name.replace("/", "_")
        try:
            check_relative(plain)
        except ValueError:
            plain = str(number)
        return plain if self.undivided else f"{split}/{plain}"


def _key(text: str | None, folder: str, number: int) -> str:
    """Name an image that a table holds: by its path if that has folders, else by class and name, or by row."""
    name = (text or "").replace("\\", "/").rpartition("/")[2]
    for key in ((text,) if text and "/" in text else ()) + ((f"{folder}/{name}",) if name else ()):
        try:
            check_relative(key)
        except ValueError:
            continue
        return key
    return f"{folder}/{number:06d}"
