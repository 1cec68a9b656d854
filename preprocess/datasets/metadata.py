"""Read the metadata files of data sets, text tables and MATLAB files. Invalid files raise DatasetError."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.base import Box
from preprocess.errors import DatasetError

REMEDY = "unpack the archive again"
NUMBER = r"[0-9]{1,9}"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and text of every non-empty line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8 text; {REMEDY}") from None
    if "\0" in text:
        raise DatasetError(f"{path} is damaged: expected text without zero bytes; {REMEDY}")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_table(path: Path, identity: str = NUMBER) -> dict[str, str]:
    """Read lines ``id value``, split at the first white space. The regular expression ``identity`` matches an id."""
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        key, value = (*line.split(maxsplit=1), "")[:2]
        if not value or not re.fullmatch(identity, key):
            raise DatasetError(f"{path}, line {number}: expected 'id value', got {line!r}; {REMEDY}")
        if key in table:
            raise DatasetError(f"{path}, line {number}: duplicate id {key}; {REMEDY}")
        table[key] = value
    return table


def read_names(path: Path) -> list[str]:
    """Read unique class names, one per line."""
    names: list[str] = []
    for number, line in read_lines(path):
        if line in names:
            raise DatasetError(f"{path}, line {number}: duplicate name {line}; {REMEDY}")
        names.append(line)
    return names


def read_numbers(path: Path, text: str, count: int) -> list[float]:
    """Read numbers separated by white space."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DatasetError(f"{path}: expected {count} numbers, got {text!r}; {REMEDY}")
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

    try:
        return read(loadmat(path, squeeze_me=True))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; {REMEDY}") from None
    except Exception as error:  # SciPy raises many types on damaged files
        raise DatasetError(f"{path} does not have the published layout ({error!r}); {REMEDY}") from None


def check_classes(path: Path, numbers: np.ndarray, count: int) -> None:
    """Raise DatasetError unless all class numbers are from 1 to ``count``."""
    odd = numbers[(numbers < 1) | (numbers > count)]
    if odd.size:
        raise DatasetError(f"{path}: expected classes from 1 to {count}, got {odd[0]}; {REMEDY}")
