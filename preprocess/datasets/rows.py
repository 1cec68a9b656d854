"""Rows of a table that somebody else wrote: separated by commas, semicolons, tabs or bars, Parquet, or lines of words.

A text table does not say how its cells are separated, so :func:`open_table` returns it in every form that it may have.
"""

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from preprocess.datasets.base import SPLITS, split_name
from preprocess.datasets.paths import last_folder
from preprocess.datasets.tree import suffix_of
from preprocess.errors import DatasetError
from preprocess.extras import required
from preprocess.formats import HEAD, format_of, suffixes
from preprocess.inputs import open_regular, read_regular
from preprocess.text import listed, shown_name

Row = tuple[int, Sequence[str]]  # its line, or in Parquet its row, from 1; its cells

WORDS, FIRST, LAST = "white space", "the first white space", "the last white space"  # forms of lines of words
LARGEST = 1 << 28  # bytes of a text, and of different texts in a column of Parquet
_MOST_ROWS = 1 << 24  # and lines: 4 GB of memory; Parquet can say a row in less than a bit
_LONGEST = 131_072  # characters of a cell, as in the csv module
_FIRST = 50  # rows that columns are guessed from
_BATCH = 1 << 16
_SHOWN = 100  # characters
_KINDS = "expected a table as CSV, TSV or Parquet, or lines 'path label'"
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Table:
    """One form of a table.

    Parameters
    ----------
    path : the file.
    form : what separates its cells, in words; empty for Parquet.
    names : of the columns, if the form has them; None where the first row may hold them.
    first : the first rows.
    read : (columns) -> all rows with the cells of these columns, by their places. Raises DatasetError.
    notes : what was left out.
    folders : whether the file has one column, of paths; a second cell holds the name of a path's last folder.
    """

    path: Path
    form: str
    names: tuple[str, ...] | None
    first: tuple[Row, ...]
    read: Callable[[tuple[int, ...]], Iterator[Row]]
    notes: tuple[str, ...] = ()
    folders: bool = False

    @property
    def unit(self) -> str:
        """What a row's number counts."""
        return "line" if self.names is None else "row"


def open_table(path: Path) -> tuple[Table, ...]:
    """Return the forms that a table may have, the likeliest first; there is at least one.

    Raises
    ------
    DatasetError : the file cannot be read, or is no table.
    """
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
        if head.startswith(_PARQUET):
            return _open_parquet(path)
        _refuse_other_files(path, head)
        return _open_text(path, read_regular(path, LARGEST))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read as a table: {error.strerror or error}; {_KINDS}") from None


def _refuse_other_files(path: Path, head: bytes) -> None:
    form = format_of(head)
    if form == "ZIP":
        raise DatasetError(f"{path} is a ZIP file, maybe an Excel workbook: unpack it, or save it as CSV in UTF-8")
    if form or path.suffix.lower() in (".parquet", ".pq"):
        raise DatasetError(f"{path} is {form or 'no Parquet file'}; {_KINDS}")
    if re.match(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*[\[{\"\]])", head):
        raise DatasetError(f"{path} is JSON; {_KINDS}")
    if not head:
        raise DatasetError(f"{path} is empty; {_KINDS}")


# ----------------------------------------------------------------------------------------------------------- text


def _open_text(path: Path, data: bytes) -> tuple[Table, ...]:
    encoding = _encoding(path, data)

    def opened(skipped: int = 0) -> TextIO:
        text = io.TextIOWrapper(io.BytesIO(data), encoding, newline="")
        for _ in range(skipped):
            next(text, "")
        return text

    skipped, separator = _preamble(opened())
    notes = (f"{path.name}: left out {skipped} lines of comments at its start",) if skipped and not separator else ()
    if counted := _count_of_rows(opened(skipped)):
        skipped += 1
        notes += (f"{path.name}: left out line {skipped}, the number {counted} of its rows",)
    tables = []
    for name, rows in _FORMS.items():
        if separator and name != separator:
            continue
        rows = _with_blank(rows) if counted and name == WORDS else rows
        read = _reader(path, lambda rows=rows: rows(opened(skipped)), skipped, _QUOTES if name in _MARKS else TABS)
        first = _first(read(None))
        if first and _is_possible(name, first, opened(skipped)):
            tables.append(Table(path, name, None, first, read, notes))
    if not tables:
        line = next((line.strip() for line in opened(skipped) if line.strip()), "")
        if not line:
            raise DatasetError(f"{path} has no lines; {_KINDS}")
        read = _reader(path, lambda: _with_folders(opened(skipped)), skipped)
        first = _first(read(None))
        if not _has_folders([cells for _, cells in first]):
            raise DatasetError(
                f"{path} has only one column, it begins {line[:_SHOWN]!r}; {_KINDS}; each line needs a label: 'path "
                "label', or a path with a folder of that name; leave out a table of images without labels"
            )
        tables = [Table(path, "", None, first, read, notes, folders=True)]
    return tuple(tables)


def _encoding(path: Path, data: bytes) -> str:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    zero = -1 if encoding == "utf-16" else data.find(b"\0")
    if zero >= 0:
        raise DatasetError(
            f"{path}, line {_line_at(data, zero)}: expected text without zero bytes; it is damaged, or UTF-16 without "
            "its mark: save it as UTF-8"
        )
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        where = "" if encoding == "utf-16" else f", line {_line_at(data, error.start)}"
        raise DatasetError(f"{path}{where}: not UTF-8 text (Latin-1?): save it as UTF-8") from None
    return encoding


def _line_at(data: bytes, place: int) -> int:
    before = data[:place]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _preamble(text: TextIO) -> tuple[int, str]:
    """Count the lines before the table: comments, or ``sep=;`` of Excel, which also names the form."""
    skipped = 0
    for line in text:
        if found := re.fullmatch(r'"?sep=([,;\t|])"?\s*', line):
            return skipped + 1, {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}[found[1]]
        if not line.startswith("#") or any(suffix_of(cell) in suffixes() for cell in re.split(r"[,;\s]", line)):
            break
        skipped += 1
    return skipped, ""


def _count_of_rows(text: TextIO) -> str:
    """Return the first line if it is the number of those that follow, with or without a header line."""
    first = next(text, "").strip()
    if not re.fullmatch(r"[1-9]\d{0,8}", first):
        return ""
    return first if sum(bool(line.strip()) for line in text) - int(first) in (0, 1) else ""


def _reader(
    path: Path, rows: Callable[[], Iterator[Row]], skipped: int, remedy: str = ""
) -> Callable[..., Iterator[Row]]:
    """Return a reader of all rows with as many cells as the first; rows of empty cells are passed over."""

    def read(columns: tuple[int, ...] | None) -> Iterator[Row]:
        width = 0
        number = 0
        try:
            for number, row in rows():
                if number > _MOST_ROWS:
                    raise DatasetError(f"{path} has too many lines: expected at most {_MOST_ROWS:,}")
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                width = width or len(cells)
                if len(cells) < width or any(cells[width:]):
                    raise DatasetError(
                        f"{path}, line {number + skipped}: expected {width} cells as in the first row, got "
                        f"{len(cells)}: {_quoted(row)}; complete the line, or {remedy}"
                    )
                yield number + skipped, cells if columns is None else [cells[column] for column in columns]
        except csv.Error as error:
            told = str(error).replace("\t", "\\t")
            raise DatasetError(
                f"{path}, after line {number + skipped}: {told}; a quote is missing or one too many: write quotes "
                'around a whole cell, and "" for one inside'
            ) from None

    return read


def _quoted(row: Sequence[str]) -> str:
    return repr(" | ".join(row)[:_SHOWN])


def _first(rows: Iterator[Row]) -> tuple[Row, ...]:
    """The first rows, up to one that cannot be read."""
    found: list[Row] = []
    with contextlib.suppress(DatasetError):
        for row in islice(rows, _FIRST):
            found.append(row)
    return tuple(found)


def _separated(separator: str) -> Callable[[TextIO], Iterator[Row]]:
    def rows(text: TextIO) -> Iterator[Row]:
        reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
        number = 0
        for row in reader:
            yield number + 1, row
            number = reader.line_num

    return rows


def _words(split: Callable[[str], list[str]]) -> Callable[[TextIO], Iterator[Row]]:
    def rows(text: TextIO) -> Iterator[Row]:
        for number, line in enumerate(text, start=1):
            yield number, split(line.strip())

    return rows


def _with_blank(split: Callable[[TextIO], Iterator[Row]]) -> Callable[[TextIO], Iterator[Row]]:
    """Complete a header line that has no name for the first column, as CelebA's."""

    def rows(text: TextIO) -> Iterator[Row]:
        found = split(text)
        first = list(islice(found, 2))
        if len(first) == 2 and len(first[0][1]) + 1 == len(first[1][1]):
            first[0] = first[0][0], ["", *first[0][1]]
        yield from first
        yield from found

    return rows


_MARKS = {
    "tabs": _separated("\t"),
    "semicolons": _separated(";"),
    "commas": _separated(","),
    "bars": _separated("|"),
}
_FORMS: dict[str, Callable[[TextIO], Iterator[Row]]] = {
    **_MARKS,
    WORDS: _words(str.split),
    LAST: _words(lambda line: line.rsplit(None, 1)),
    "the last two white spaces": _words(lambda line: line.rsplit(None, 2)),
    FIRST: _words(lambda line: line.split(None, 1)),
}
_QUOTES = "put quotes around cells that hold a separator"
TABS = "separate all cells by tabs if some hold blanks"


def _with_folders(text: TextIO) -> Iterator[Row]:
    """Lines as paths, and the names of their last folders."""
    for number, line in enumerate(text, start=1):
        cell = line.strip().strip('"')
        yield number, [cell, last_folder(cell)]


def _has_folders(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all paths, but perhaps that of a header line, have a folder, and these do not say only the split."""
    has_header = bool(rows) and not rows[0][1] and not rows[0][0].isdigit()
    folders = [folder for _, folder in rows[has_header:]]
    return bool(folders) and all(folders) and any(split_name(folder) not in SPLITS for folder in folders)


def _is_possible(name: str, first: tuple[Row, ...], text: TextIO) -> bool:
    width = len(first[0][1])
    if name == WORDS:
        return width > 2  # two words are also split at the last white space
    if name == "the last two white spaces":
        return width > 2 and all(split_name(cells[2]) in SPLITS for _, cells in first[1:])
    if name == FIRST and width > 1:
        return any(len(line.split(None, 2)) > 2 for line in text)  # else it is the same as the last white space
    return width > 1


# -------------------------------------------------------------------------------------------------------- Parquet


def _open_parquet(path: Path) -> tuple[Table, ...]:
    with required(str(path)):
        import pyarrow as pa
        import pyarrow.parquet as pq

    def rows(columns: Sequence[int], batch: int = _BATCH) -> Iterator[Row]:
        with open_regular(path) as file, _refusing_damage(path):
            names = pq.ParquetFile(file).schema_arrow.names
            chosen = [names[column] for column in columns]
            # A text is there once, however many rows have it. Not asked: sizes of columns, on whose damaged statistics
            # pyarrow 26 aborts the process.
            table = pq.ParquetFile(file, read_dictionary=chosen)
            number, last = 1, {}
            for part in table.iter_batches(batch, columns=chosen, use_threads=False):
                texts = [_texts(part.column(name), last.setdefault(name, [None, ()])) for name in chosen]
                for cells in zip(*texts, strict=True):
                    yield number, cells
                    number += 1
                if number > _MOST_ROWS:
                    raise DatasetError(f"{path} has too many rows: expected at most {_MOST_ROWS:,}")

    with open_regular(path) as file, _refusing_damage(path):
        schema = pq.ParquetFile(file).schema_arrow
    if repeated := {name for name in schema.names if schema.names.count(name) > 1}:
        raise DatasetError(f"{path} has two columns {min(repeated)!r}; rename one")
    flat = [place for place, field in enumerate(schema) if _is_flat(pa, field.type)]
    if not flat:
        raise DatasetError(
            f"{path} has no columns of texts or numbers, but {shown_name(', '.join(schema.names)[:_SHOWN])}; {_KINDS}"
        )
    names = tuple(schema.names[place] for place in flat)
    first = tuple(islice(rows(flat, _FIRST), _FIRST))
    if not first:
        raise DatasetError(f"{path} has no rows; {_KINDS}")
    others = [name for name in schema.names if name not in names]
    notes = (
        [f"{path.name}: passed over {shown_name(listed(others))}; images inside of a table are read by build hf"]
        if others
        else []
    )
    return (Table(path, "", names, first, lambda columns: rows([flat[column] for column in columns]), tuple(notes)),)


def _is_flat(pa: Any, kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
        )
    )


@contextlib.contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # pyarrow raises many types on damaged files
        told = shown_name(" ".join(str(error).split()))
        raise DatasetError(f"{path} is damaged: {told[:_SHOWN]}; write the Parquet file again") from None


def _texts(array: Any, last: list) -> list[str]:
    """Return the values of a column as texts; ``last`` holds the dictionary of the batch before, and its texts."""
    if not hasattr(array, "dictionary"):
        return [_text(value) for value in array.to_pylist()]
    if last[0] is None or not array.dictionary.equals(last[0]):
        if array.dictionary.nbytes > LARGEST:
            raise ValueError(f"the texts of a column take {array.dictionary.nbytes:,} bytes")
        last[:] = array.dictionary, [_text(value) for value in array.dictionary.to_pylist()]
    return ["" if place is None else last[1][place] for place in array.indices.to_pylist()]


def _text(value: object) -> str:
    if value is None:
        return ""
    text = str(value).strip()
    if len(text) > _LONGEST:
        raise ValueError(f"a cell has {len(text):,} characters")
    return text
