"""The interface of a data set: adapter, listing, sample."""

import errno
import hashlib
import itertools
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.datasets.tree import folders_in
from preprocess.errors import DatasetError, MissingDataError
from preprocess.files import bytes_of
from preprocess.images import LARGEST_FILE
from preprocess.inputs import open_regular, read_regular
from preprocess.text import looks_like

Box = tuple[float, float, float, float]

_MOST_NAMES = 10_000  # of a folder that are compared
_DEEPEST = 2  # folders below the root: the archive's own folder, and one that an unpacking tool may add
SPLITS = ("train", "val", "test")
_SYNONYMS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def split_name(name: str) -> str:
    """Return ``train``, ``val`` or ``test`` for a name that people give to it, in any case; other names unchanged."""
    lower = name.lower()
    return _SYNONYMS.get(lower, lower if lower in SPLITS else name)


@dataclass(frozen=True)
class Request:
    """What a user asks an adapter for.

    Parameters
    ----------
    splits : names of the splits to list, as :func:`split_name` returns them; None for all that are there. What only
        other splits need may be missing.
    table : tables of images; only for adapters that take them.
    image, label, split : names of their columns; None to guess them.
    rooted : whether the user named the root.
    """

    splits: tuple[str, ...] | None = None
    table: tuple[Path, ...] = ()
    image: str | None = None
    label: str | None = None
    split: str | None = None
    rooted: bool = False

    def wants(self, split: str) -> bool:
        """Whether a split is asked for."""
        return self.splits is None or split in self.splits


EVERYTHING = Request()


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file of a data set. For images in other containers, subclass it and override ``read`` and ``size``.

    Parameters
    ----------
    key : name, unique within its split: a path with forward slashes, from the tables of the set or relative to the
        root.
    label : 0-based class number.
    path : the file that contains the image.
    boxes : bounding boxes of its objects: edges x0, y0, x1, y1 in pixels of the upright image, from the top left.
    """

    key: str
    label: int
    path: Path
    boxes: tuple[Box, ...] = ()

    @property
    def path_text(self) -> str:
        """The path as text, for system calls."""
        return os.fspath(self.path)

    def read(self) -> bytes:
        """The bytes of the image file.

        Raises
        ------
        OSError : the file cannot be read, is not a regular file or is too large to be an image.
        """
        return read_regular(self.path, LARGEST_FILE)

    def size(self) -> int:
        """The number of bytes that ``read`` returns, or another number that changes if they do; -1 if it is missing."""
        return bytes_of(self.path_text)

    def digest(self, data: bytes) -> bytes:
        """SHA-256 of the bytes from ``read``; if the sample has boxes, of that digest and the boxes."""
        digest = hashlib.sha256(data).digest()
        edges = [edge for box in self.boxes for edge in box]
        return hashlib.sha256(digest + struct.pack(f"<{len(edges)}d", *edges)).digest() if edges else digest


class Found(Sample):  # pyrefly: ignore[bad-class-definition] - it is no dataclass itself
    """A sample that keeps its path as text, which takes half the time and memory: a data set has millions."""

    __slots__ = ("path_text",)

    @property
    def path(self) -> Path:
        """The file that contains the image."""
        return Path(self.path_text)

    @path.setter
    def path(self, path: Path | str) -> None:  # only of the constructor: a dataclass that is frozen
        object.__setattr__(self, "path_text", os.fspath(path))


@dataclass(frozen=True, slots=True)
class Packed(Sample):
    """An image that lies in a file with others."""

    offset: int = 0
    length: int = 0

    def read(self) -> bytes:
        """The bytes of the image file."""
        if self.length > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"too large: expected at most {LARGEST_FILE:,} bytes", str(self.path))
        with open_regular(self.path) as file:
            file.seek(self.offset)
            data = file.read(self.length)
        if len(data) < self.length:
            raise OSError(errno.EIO, "the file ends before the image does", str(self.path))
        return data

    def size(self) -> int:
        """The number of bytes; -1 if the file is missing."""
        return self.length if self.path.exists() else -1


@dataclass(frozen=True)
class Listing:
    """Everything that an adapter finds under a root.

    Parameters
    ----------
    classes : class names by label.
    splits : split name -> its samples, in the official order or else sorted by key.
    excluded : split name -> keys that the user excluded.
    limit : largest number of images per class and split; None for no limit.
    undivided : whether the source has no split; then all samples are in ``train``.
    rule : how ``train`` was divided: text of the option ``--split``; empty if it was not.
    tables : files under the root that the listing was read from.
    notes : what was guessed, substituted or left out, one line each, for the terminal.
    left_out : reason -> (count, one of them): the files and folders under the root that are not in the listing; an
        adapter gives what it left out of files that hold several images.
    total : number of images under the root, also of splits that are not asked for.
    walked : whether every sample was found on the disk; else some may be names in a table whose files are missing.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    excluded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None
    undivided: bool = False
    rule: str = ""
    tables: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    total: int = 0
    walked: bool = False


@dataclass(frozen=True)
class Archive:
    """A published file of a data set.

    Parameters
    ----------
    name : official file name. Files that end in .tar, .tgz, .tar.gz or .zip are unpacked.
    url : download address; None if it must be downloaded by hand.
    digest : ``md5:...`` or ``sha256:...``; None if unknown.
    size : in bytes; None if unknown.
    holds : a folder or file of the archive; if it exists, the archive is not needed. Required if a set has several
        archives.
    splits : the splits that need it; empty for all.
    """

    name: str
    url: str | None
    digest: str | None
    size: int | None = None
    holds: str | None = None
    splits: tuple[str, ...] = ()

    def is_needed(self, request: Request) -> bool:
        """Whether a split that is asked for needs it."""
        return not self.splits or any(map(request.wants, self.splits))


@dataclass(frozen=True)
class Adapter:
    """A data set.

    Parameters
    ----------
    summary : one line for the help text.
    find : (root, request) -> listing of the splits asked for. Raises MissingDataError if the layout is missing,
        DatasetError if it is damaged.
    layout : expected contents of the root, shown to the user.
    source : where to get the set, shown to the user.
    licence : its terms, in a few words.
    archives : files to download, or to unpack if they are already under the root.
    counts : official number of images by split; empty if unknown.
    classes : official number of classes; None if unknown.
    size : default side of the stored images, in pixels.
    resize : default ``--resize``.
    codec : default ``--codec``.
    segments : default ``--segments``.
    compactness : default ``--compactness``.
    banner : rows of pixels to crop off the bottom of every image.
    create : generates the set under an empty root; None if it cannot be generated.
    takes : the fields of :class:`Request` besides ``splits`` that it reads.
    pattern : whether the root may be a pattern of files, such as ``shards/{000..007}.tar``.
    """

    summary: str
    find: Callable[[Path, Request], Listing]
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
    takes: frozenset[str] = frozenset()
    pattern: bool = False


def locate(root: Path, *paths: str) -> Path:
    """Find a file or folder relative to the root, or to a folder up to two levels below it.

    Parameters
    ----------
    root : where to search; hidden folders, and those that systems make, are skipped.
    paths : alternative relative paths. The match nearest to the root wins.

    Raises
    ------
    MissingDataError : none of them exists.
    DatasetError : two folders on the same level contain a match.
    """
    level = [root]
    for _ in range(1 + _DEEPEST):
        found = {folder: path for folder in level if (path := _first_in(folder, paths)) is not None}
        if len(found) > 1:
            (here, one), (there, other) = list(found.items())[:2]
            raise DatasetError(f"found both {one} and {other}; choose one with --root {here} or --root {there}")
        if found:
            return next(iter(found.values()))
        level = [child for folder in level for child in folders_in(folder)]
    lacking = " or ".join(paths[:2])
    raise MissingDataError(f"no {lacking} in {root} or up to {_DEEPEST} folders below it{renamed(root, *paths[:2])}")


def located(root: Path, *paths: str) -> Path | None:
    """As :func:`locate`, but None if none of them exists."""
    try:
        return locate(root, *paths)
    except MissingDataError:
        return None


def renamed(root: Path, *paths: str) -> str:
    """Say which file or folder under a root has almost the name of one that is missing; nothing if none has."""
    level = [root]
    for _ in range(1 + _DEEPEST):
        for folder in level:
            for name in dict.fromkeys(part for path in paths for part in path.split("/")):
                if alike := looks_like(name, _names(folder)):
                    return f"; {folder / alike[0]} looks like it: rename it to {name}"
        level = [child for folder in level for child in folders_in(folder)]
    return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in itertools.islice(folder.iterdir(), _MOST_NAMES))
    except OSError:
        return []


def _first_in(folder: Path, paths: tuple[str, ...]) -> Path | None:
    return next((folder / path for path in paths if (folder / path).exists()), None)
