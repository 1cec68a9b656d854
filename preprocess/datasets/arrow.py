"""Read Arrow and Parquet files in place: a few columns to list them, then one image at a time. They are untrusted.

pyarrow is imported when it is needed. Nothing is copied into a cache, and no column is read that nobody asked for.
"""

import contextlib
import errno
import itertools
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.datasets.base import Sample
from preprocess.errors import DatasetError, ImageError
from preprocess.extras import PackageError, required
from preprocess.formats import HEAD, format_of, remedy_of
from preprocess.images import LARGEST_FILE
from preprocess.inputs import open_regular
from preprocess.text import one_line

if TYPE_CHECKING:
    import pyarrow

_MOST_ROWS = 100_000_000
_BATCH = 4096  # rows of columns without images
_MOST_UNPACKED = 1 << 30  # bytes that a batch of an Arrow file may take in memory: the library datasets packs nothing
_ARROW_FILE = b"ARROW1"  # how the file format begins; the library datasets writes streams
_opened = threading.local()


@dataclass(frozen=True, slots=True)
class Row(Sample):
    """An image in a row of a table."""

    column: str = ""
    row: int = 0  # in the file
    length: int = 0  # bytes of the image, or of all that a Parquet file reads with it

    def read(self) -> bytes:
        """The bytes of the image file.

        Raises
        ------
        ImageError : the row holds none, or the table is damaged there.
        """
        with told(self.path, ImageError):
            data = _table(self.path, self.column).image(self.row)
        if data is None:
            raise ImageError(f"row {self.row:,} of {self.path.name} holds no bytes of an image")
        if len(data) > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"too large: expected at most {LARGEST_FILE:,} bytes", str(self.path))
        return data

    def size(self) -> int:
        """Another number if the image changes, most likely; -1 if the file is missing."""
        return self.length if self.path.exists() else -1


def import_pyarrow() -> Any:
    """Return the module.

    Raises
    ------
    PackageError : it is missing or broken.
    """
    with required("an Arrow or Parquet file"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def open_table(path: Path, texts: Sequence[str] = ()) -> "ArrowTable | ParquetTable":
    """Open an Arrow or a Parquet file by its content.

    Parameters
    ----------
    path : the file.
    texts : columns that may hold texts, each of which is then held once.

    Raises
    ------
    DatasetError : it is damaged, or neither.
    """
    pa = import_pyarrow()
    with told(path, DatasetError):
        with open_regular(path) as file:
            head = file.read(HEAD)
        if remedy := remedy_of(format_of(head)):
            raise ValueError(f"it is a {format_of(head)} ({remedy})")
        parquet = head.startswith(b"PAR1")
        table = ParquetTable(pa, path, texts) if parquet else ArrowTable(pa, path, head.startswith(_ARROW_FILE))
        if table.rows > _MOST_ROWS:
            raise ValueError(f"{table.rows:,} rows")
        return table


class ParquetTable:
    """A Parquet file: ``rows``, and a ``schema``."""

    def __init__(self, pa: Any, path: Path, texts: Sequence[str] = ()) -> None:
        # Not more than a page of an image column is in memory. A text that many rows share must not be there for each.
        self.file = pa.parquet.ParquetFile(path, memory_map=True, pre_buffer=False, read_dictionary=list(texts))
        self.path, self.schema, self.rows = path, self.file.schema_arrow, self.file.metadata.num_rows
        groups = [self.file.metadata.row_group(number).num_rows for number in range(self.file.metadata.num_row_groups)]
        self.starts = list(itertools.accumulate(groups, initial=0))
        self.leaf, self.at, self.cursor = "", -1, iter(())

    def leaves(self, column: str) -> list[str]:
        """Paths of the leaves of a column."""
        paths = (self.file.schema.column(number).path for number in range(len(self.file.schema)))
        return [path for path in paths if path == column or path.startswith(f"{column}.")]

    def read(self, columns: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
        """Yield batches of leaves of columns."""
        with told(self.path, DatasetError):
            yield from self.file.iter_batches(_BATCH, columns=list(columns), use_threads=False)

    def sizes(self, column: str) -> list[int]:
        """For every row, the bytes of its group of rows; -1 where no row of the group holds an image."""
        found: list[int] = []
        with told(self.path, DatasetError):
            for number in range(self.file.metadata.num_row_groups):
                group = self.file.metadata.row_group(number)
                # Not by metadata of the column: pyarrow 26 ends the process over some that are damaged.
                rows = self.file.iter_batches(1, row_groups=[number], columns=[column], use_threads=False)
                held = any(_leaf(row.column(0)).null_count == 0 for row in rows)  # mostly the first
                found += [group.total_byte_size if held else -1] * group.num_rows
        return found

    def image(self, row: int) -> bytes | None:
        """Read one image; those after the last one are fast."""
        if row >= self.rows:
            raise ValueError(f"expected more than {row:,} rows, got {self.rows:,}")
        if not 0 <= self.at <= row or row >= self.end:
            group = bisect_right(self.starts, row) - 1
            self.at, self.end = self.starts[group], self.starts[group + 1]
            self.cursor = self.file.iter_batches(1, row_groups=[group], columns=[self.leaf], use_threads=False)
        batch = None
        while self.at <= row:
            batch = next(self.cursor)
            self.at += 1
        return _bytes_of(batch.column(0), 0)

    def choose(self, leaf: str) -> None:
        """Say which leaf holds the images."""
        self.leaf, self.at, self.end = leaf, -1, -1


class ArrowTable:
    """An Arrow file, mapped into memory: ``rows``, and a ``schema``."""

    def __init__(self, pa: Any, path: Path, is_file: bool) -> None:
        self.path = path
        mapped = pa.memory_map(str(path))
        reader = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        self.schema, self.batches, before = reader.schema, [], pa.total_allocated_bytes()
        for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
            if pa.total_allocated_bytes() - before > _MOST_UNPACKED:
                raise ValueError("it is compressed; save it again without compression, or as Parquet")
            self.batches.append(batch)
        self.starts = list(itertools.accumulate((batch.num_rows for batch in self.batches), initial=0))
        self.rows = self.starts[-1]
        self.parts: list[Any] = []

    def leaves(self, column: str) -> list[str]:
        """The column: an Arrow file is mapped, so that no more than what is looked at is read."""
        return [column] if column in self.schema.names else []

    def read(self, columns: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
        """Yield batches of columns."""
        with told(self.path, DatasetError):
            for batch in self.batches:
                part = batch.select(list(dict.fromkeys(columns)))
                part.validate(full=True)
                yield part

    def sizes(self, column: str) -> list[int]:
        """The bytes of every image; -1 for a row without one."""
        import pyarrow.compute as pc

        with told(self.path, DatasetError):
            self.choose(column)
            lengths = (pc.binary_length(part.cast("large_binary")) for part in self.parts)
            return [-1 if size is None else size for each in lengths for size in each.to_pylist()]

    def image(self, row: int) -> bytes | None:
        """Read one image."""
        if row >= self.rows:
            raise ValueError(f"expected more than {row:,} rows, got {self.rows:,}")
        number = bisect_right(self.starts, row) - 1
        return _bytes_of(self.parts[number], row - self.starts[number])

    def choose(self, leaf: str) -> None:
        """Say which leaf holds the images."""
        column, _, inner = leaf.partition(".")
        if column in self.schema.names:
            inner = inner if self.schema.field(column).type.num_fields else ""
        else:
            column, inner = leaf, ""
        self.parts = []
        for batch in self.batches:
            part = batch.column(column)
            part.validate(full=True)
            self.parts.append(child(part, inner) if inner else part)


def child(array: "pyarrow.Array", name: str) -> "pyarrow.Array":
    """Return a field of an array of structs; it is null where the struct is."""
    return array.flatten()[array.type.get_field_index(name)]


def _bytes_of(array: "pyarrow.Array", place: int) -> bytes | None:
    return _leaf(array)[place].as_py()


def _leaf(array: "pyarrow.Array") -> "pyarrow.Array":
    """The bytes in structs of which nothing else was read."""
    return array.flatten()[0] if array.type.num_fields else array


def _table(path: Path, column: str) -> "ArrowTable | ParquetTable":
    """Open a table to read images. Each thread keeps one open, because shards read files in order."""
    status = path.stat()
    stamp = (path, column, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    if getattr(_opened, "stamp", None) != stamp:
        _opened.stamp = None
        _opened.table = open_table(path)
        _opened.table.choose(column)
        _opened.stamp = stamp
    return _opened.table


@contextlib.contextmanager
def told(path: Path, kind: type[Exception]) -> Iterator[None]:
    """Turn what pyarrow raises on damaged files into one line."""
    try:
        yield
    except (DatasetError, ImageError, PackageError):
        raise
    except Exception as error:  # pyarrow raises many types on damaged files
        if isinstance(error, OSError) and error.filename:
            raise
        reason = one_line(error, 300) or type(error).__name__
        raise kind(f"{path} cannot be read: {reason}; fetch or write it again") from None


def plain(array: Any) -> list[Any]:
    """Values of an array; each text of a dictionary is there once."""
    if import_pyarrow().types.is_dictionary(array.type):
        values = array.dictionary.to_pylist()
        return [None if place is None else values[place] for place in array.indices.to_pylist()]
    return array.to_pylist()
