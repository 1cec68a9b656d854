"""What an adapter is and what it returns."""

import hashlib
import stat
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.errors import DatasetError, ImageError, MissingDataError

Box = tuple[float, float, float, float]

_DEEPEST = 2  # folders below the root: the archive's own, and one that an unpacking tool put around it


@dataclass(frozen=True)
class Sample:
    """One image of a data set: a file. A set that keeps its images otherwise has a subclass with another ``read``.

    Parameters
    ----------
    key : stable name, unique within its split: a path with forward slashes, as the tables of the set give it, or
        relative to the root.
    label : 0-based class number.
    path : the file that holds it.
    boxes : bounding boxes of its objects: edges x0, y0, x1, y1 in pixels of the upright image, from its top left.
    """

    key: str
    label: int
    path: Path
    boxes: tuple[Box, ...] = ()

    def read(self) -> bytes:
        """The image as the bytes of an image file.

        Raises
        ------
        OSError : it cannot be read.
        ImageError : it is not a regular file.
        """
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise ImageError("not a regular file")  # a pipe would wait for a writer
        return self.path.read_bytes()

    def digest(self, data: bytes) -> bytes:
        """SHA-256 of what ``read`` gave; where there are boxes, of that digest and the boxes."""
        digest = hashlib.sha256(data).digest()
        edges = [edge for box in self.boxes for edge in box]
        return hashlib.sha256(digest + struct.pack(f"<{len(edges)}d", *edges)).digest() if edges else digest


@dataclass(frozen=True)
class Listing:
    """Everything that an adapter finds under a root.

    Parameters
    ----------
    classes : class names by label.
    splits : split name -> its samples, in the official order (else sorted by key).
    excluded : split name -> keys that were left out on purpose.
    limit : the most images of a class that were taken in each split; None for all.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    excluded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True)
class Archive:
    """A file that a data set is published as.

    Parameters
    ----------
    name : its file name, as its publisher gives it. Names that end in .tar, .tgz, .tar.gz or .zip are unpacked.
    url : where it is; None where it can only be fetched by hand.
    digest : ``md5:...`` or ``sha256:...``; None where none is known.
    size : in bytes; None where it is not known.
    holds : the folder or file in it that shows that it need not be fetched; needed where a set has several archives.
    """

    name: str
    url: str | None
    digest: str | None
    size: int | None = None
    holds: str | None = None


@dataclass(frozen=True)
class Adapter:
    """A data set by name.

    Parameters
    ----------
    summary : one line for the help text.
    find : root folder -> listing; raises MissingDataError where the layout is not there, DatasetError where it is
        damaged.
    layout : what is expected under the root, for people.
    source : where the set comes from, for people.
    licence : on what terms, in a few words.
    archives : what is downloaded or, if it lies under the root already, unpacked.
    counts : official number of images by split; empty where there is none.
    classes : official number of classes; None where there is none.
    size : default side of the stored images, in pixels.
    resize : default ``--resize``.
    codec : default ``--codec``.
    segments : default ``--segments``.
    compactness : default ``--compactness``.
    banner : rows of pixels at the bottom of every image that are cut off before anything else.
    create : makes the data set under a root that lacks it; None where that is impossible.
    """

    summary: str
    find: Callable[[Path], Listing]
    layout: str
    source: str = "yours"
    licence: str = "yours"
    archives: tuple[Archive, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    classes: int | None = None
    size: int = 256
    resize: str = "squash"
    codec: str = "auto"
    segments: str = "30:40"
    compactness: float = 10.0
    banner: int = 0
    create: Callable[[Path], None] | None = None


def locate(root: Path, *paths: str) -> Path:
    """Find a file or folder, relative to the root or to a folder up to two levels below it.

    Parameters
    ----------
    root : where to look; hidden folders are passed over.
    paths : relative paths, any of which will do; the one that is nearest to the root wins.

    Raises
    ------
    MissingDataError : none of them is there.
    DatasetError : two folders of one level hold one.
    """
    level = [root]
    for _ in range(1 + _DEEPEST):
        found = [path for path in (_first_in(folder, paths) for folder in level) if path is not None]
        if len(found) > 1:
            raise DatasetError(f"there are {found[0]} and {found[1]}; give the root that is meant: --root")
        if found:
            return found[0]
        level = [child for folder in level for child in _folders(folder)]
    raise MissingDataError(f"there is no {' or '.join(paths[:2])} in {root} or up to {_DEEPEST} folders below it")


def _first_in(folder: Path, paths: tuple[str, ...]) -> Path | None:
    return next((folder / path for path in paths if (folder / path).exists()), None)


def _folders(folder: Path) -> Iterable[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith(".") and child.is_dir())
    except OSError:
        return []
