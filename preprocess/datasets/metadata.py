"""Read the metadata files of data sets, text tables and MATLAB files. Invalid files raise DatasetError."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.base import Box
from preprocess.errors import DatasetError
from preprocess.inputs import read_regular

REMEDY = "unpack the archive again"  # of a damaged file: no editor does that
RESTORE = "restore the published file; a set of your own is read by build table or build folder"
NUMBER = r"[0-9]{1,9}"
LARGEST = 1 << 26  # bytes of a file: ten times the largest published table
_MAT_HEADER, _COMPRESSED = 128, 15  # of MATLAB files, version 5: bytes; type of an element
_MARKS = ",;|"  # between the columns of other people's tables
_SHOWN = 200  # characters of a line or a reason


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Read a file of a data set that is no image.

    Raises
    ------
    DatasetError : the file cannot be read, is not a regular file or is larger than ``most`` bytes.
    """
    try:
        return read_regular(path, most)
    except OSError as error:
        how = "copy it from the published set" if isinstance(error, FileNotFoundError) else "make it a readable file"
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; {how}") from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and text of every non-empty line."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8 text; save it as UTF-8, or restore the published file") from None
    if "\0" in text:
        raise DatasetError(f"{path} is damaged: expected text without zero bytes; {REMEDY}")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


class SeparatorError(DatasetError):
    """A table has a comma or the like between its columns, which no published table has: ``mark``."""

    def __init__(self, message: str, mark: str) -> None:
        super().__init__(message)
        self.mark = mark


def read_table(path: Path, identity: str = NUMBER) -> dict[str, str]:
    """Read lines ``id value``, split at the first white space. The regular expression ``identity`` matches an id."""
    table: dict[str, str] = {}
    lines = read_lines(path)
    for number, line in lines:
        key, value = (*line.split(maxsplit=1), "")[:2]
        if not value or value[0] in _MARKS or not re.fullmatch(identity, key):
            raise _odd_line(path, number, (line, "" if table else next(lines, (0, ""))[1]), identity)
        if key in table:
            raise DatasetError(f"{path}, line {number}: duplicate id {key}; {RESTORE}")
        table[key] = value
    return table


def _odd_line(path: Path, number: int, lines: tuple[str, str], identity: str) -> DatasetError:
    """Say what is wrong with a line, or with the first one and the one below it, of a table of ids."""
    got = f"{path}, line {number}: expected 'id value', got {lines[0][:_SHOWN]!r}"
    found = [re.match(rf"""["']?(?:{identity})["']? *([{_MARKS}\s])""", line) for line in lines]
    header = not found[0] and found[1] is not None
    if header:
        got += ", a header line"
    mark = found[header][1] if found[header] else ""
    if mark and mark in _MARKS:
        return SeparatorError(
            f"{got}, with {mark!r} for the space: it is no table of the published set; build table reads one list of "
            "path, label and split",
            mark,
        )
    if header:
        return DatasetError(f"{got}, which no published table has; remove it, and those of the tables beside it")
    return DatasetError(f"{got}; {RESTORE}")


def read_names(path: Path) -> list[str]:
    """Read unique class names, one per line."""
    names: dict[str, None] = {}
    for number, line in read_lines(path):
        if line in names:
            raise DatasetError(f"{path}, line {number}: duplicate name {line[:_SHOWN]!r}; {RESTORE}")
        names[line] = None
    return list(names)


def read_numbers(path: Path, text: str, count: int) -> list[float]:
    """Read numbers separated by white space."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DatasetError(f"{path}: expected {count} numbers, got {text[:_SHOWN]!r}; {RESTORE}")
    return numbers


def read_boxes(
    path: Path, edges: Callable[[float, float, float, float], Box], identity: str = NUMBER
) -> dict[str, tuple[Box, ...]]:
    """Read lines of an id and four numbers, which ``edges`` turns into a box. A missing file has no boxes."""
    table = read_table(path, identity) if path.exists() else {}
    return {image: (edges(*read_numbers(path, text, 4)),) for image, text in table.items()}


def read_mat(path: Path, read: Callable[[dict[str, Any]], Any]) -> Any:
    """Read a MATLAB file with a function of its variables by name, with dimensions of size one dropped."""
    from scipy.io import loadmat

    data = read_bytes(path)
    try:
        _check_unpacked(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the file
            return read(loadmat(io.BytesIO(data), squeeze_me=True))
    except Exception as error:  # SciPy raises many types on damaged files
        raise DatasetError(f"{path} does not have the published layout ({repr(error)[:_SHOWN]}); {RESTORE}") from None


def _check_unpacked(data: bytes) -> None:
    """Refuse a MATLAB file whose variables unpack to too many bytes, before SciPy unpacks them."""
    place, total = _MAT_HEADER, 0
    order = ">" if data[_MAT_HEADER - 2 : _MAT_HEADER] == b"MI" else "<"
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}2I", data, place)
        if kind == _COMPRESSED:
            total += len(zlib.decompressobj().decompress(data[place + 8 : place + 8 + size], LARGEST + 1))
        if total > LARGEST:
            raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
        place += 8 + size


def check_classes(path: Path, numbers: np.ndarray, count: int) -> None:
    """Raise DatasetError unless all class numbers are from 1 to ``count``."""
    odd = numbers[(numbers < 1) | (numbers > count)]
    if odd.size:
        raise DatasetError(f"{path}: expected classes from 1 to {count}, got {odd[0]}; {RESTORE}")
