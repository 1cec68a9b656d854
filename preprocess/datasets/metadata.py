"""Reading the metadata files of data sets: text tables and MATLAB files. What is wrong with them is a DatasetError."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.errors import DatasetError

REMEDY = "unpack the archive again"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of every line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not a UTF-8 text; {REMEDY}") from None
    if "\0" in text:
        raise DatasetError(f"{path} is damaged: a text without zero bytes was expected; {REMEDY}")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_table(path: Path, identity: str = r"[0-9]{1,9}") -> dict[str, str]:
    """Read lines of ``id value``, split at the first white space.

    Parameters
    ----------
    identity : pattern of an id.
    """
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        key, value = (*line.split(maxsplit=1), "")[:2]
        if not value or not re.fullmatch(identity, key):
            raise DatasetError(f"{path}, line {number}: expected 'id value', got {line!r}; {REMEDY}")
        if key in table:
            raise DatasetError(f"{path}, line {number}: id {key} comes twice; {REMEDY}")
        table[key] = value
    return table


def read_names(path: Path) -> list[str]:
    """Read lines that are names of classes, each of which comes once."""
    names: list[str] = []
    for number, line in read_lines(path):
        if line in names:
            raise DatasetError(f"{path}, line {number}: {line} comes twice; {REMEDY}")
        names.append(line)
    return names


def read_numbers(path: Path, text: str, count: int) -> list[float]:
    """Read numbers that are separated by white space."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DatasetError(f"{path}: expected {count} numbers, got {text!r}; {REMEDY}")
    return numbers


def read_mat(path: Path, read: Callable[[dict[str, Any]], Any]) -> Any:
    """Read a MATLAB file.

    Parameters
    ----------
    read : variables by name, dimensions of one dropped -> what is wanted of them.
    """
    from scipy.io import loadmat

    try:
        return read(loadmat(path, squeeze_me=True))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; {REMEDY}") from None
    except Exception as error:  # damage makes SciPy raise anything
        raise DatasetError(f"{path} is not laid out as published ({error!r}); {REMEDY}") from None


def check_classes(path: Path, numbers: np.ndarray, count: int) -> None:
    """Refuse class numbers that are not from 1 to ``count``."""
    odd = numbers[(numbers < 1) | (numbers > count)]
    if odd.size:
        raise DatasetError(f"{path}: expected classes from 1 to {count}, got {odd[0]}; {REMEDY}")
