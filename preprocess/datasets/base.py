"""What an adapter is and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image file of a data set.

    Parameters
    ----------
    key : stable name, unique within its split: the path relative to the root, with forward slashes.
    label : 0-based class number.
    path : the file.
    """

    key: str
    label: int
    path: Path


@dataclass(frozen=True)
class Listing:
    """Everything that an adapter finds under a root.

    Parameters
    ----------
    classes : class names by label.
    splits : split name -> its samples, in the official order (else sorted by key).
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]


@dataclass(frozen=True)
class Adapter:
    """A data set by name.

    Parameters
    ----------
    summary : one line for the help text.
    find : root folder -> listing; raises DatasetError that says what to fetch and where to put it.
    size : default side of the stored images, in pixels.
    segments : default ``--segments``.
    compactness : default ``--compactness``.
    create : makes the data set under a root that lacks it; None where that is impossible.
    """

    summary: str
    find: Callable[[Path], Listing]
    size: int = 256
    segments: str = "30:40"
    compactness: float = 10.0
    create: Callable[[Path], None] | None = None
