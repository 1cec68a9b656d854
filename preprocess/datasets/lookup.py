"""Images that a table names by the end of their paths: ids without a suffix, names without all of their folders."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import Request
from preprocess.datasets.paths import ABSOLUTE, Way, common_folder, is_address, is_same
from preprocess.datasets.tree import folders_in, suffix_of, walk
from preprocess.formats import suffixes

_BESIDE = 100  # folders beside the root that are looked into
# Folders of tables, in small letters: the images of the set may be beside them.
_PARTS = re.compile(
    r"annos?|annotations?|labels?|meta|metadata|lists?|splits?|partitions?|csv|tables?|gt|ground_?truth"
)

Found = Mapping[str, Sequence[str]]  # the end of a path -> the files that have it, relative to the root


@dataclass(frozen=True)
class Lookup:
    """As :class:`preprocess.datasets.paths.Way`, but a cell is the end of a path, with or without its suffix.

    Parameters
    ----------
    root : of the data set.
    found : for some cells.
    """

    root: Path
    found: Found
    strip: str = ""

    def key(self, cell: str) -> str:
        """Return the first file of a clean cell; the cell as a path if there is none."""
        return next(iter(self.found.get(end_of(cell), ())), "") or Way(self.root).key(cell)

    def exists(self, cell: str) -> bool:
        """Whether a clean cell names a file."""
        return bool(self.found.get(end_of(cell)))

    def hits(self, cells: Iterable[str]) -> int:
        """Count the cells that name a file."""
        return sum(self.exists(cell) for cell in cells)

    def __str__(self) -> str:
        """Nothing: where the images are is only known when all are found."""
        return ""


def end_of(cell: str) -> str:
    """Return a clean cell, without a ``/`` at its start, as the end of a path in NFC; empty if it is none."""
    path = normalize("NFC", cell.lstrip("/"))
    if not path or is_address(cell):
        return ""
    path = posixpath.normpath(path)
    return "" if ABSOLUTE.match(path) or path.split("/", 1)[0] in (".", "..") else path


def look_up(root: Path, cells: Iterable[str]) -> dict[str, list[str]]:
    """Find the files below a folder by the ends of their paths; of images the suffix may be missing.

    Raises
    ------
    OSError, DatasetError : as for :func:`preprocess.datasets.tree.walk`.
    """
    found: dict[str, list[str]] = {end: [] for cell in cells if (end := end_of(cell))}
    depths = {end.count("/") for end in found}
    for level in walk(root) if found else ():
        folder = os.path.relpath(level.path, root).replace(os.sep, "/")
        parts = [] if folder == "." else folder.split("/")
        heads = [
            normalize("NFC", "".join(f"{part}/" for part in parts[len(parts) - depth :]))
            for depth in depths
            if depth <= len(parts)
        ]
        start = "".join(f"{part}/" for part in parts)
        for name in level.files:
            for end in _ends(name):
                for head in heads:
                    if head + end in found:
                        found[head + end].append(start + name)
    return found


def alike(root: Path, keys: Iterable[str]) -> dict[str, str]:
    """Find images below a folder whose paths are those of missing files but for case and suffix: missing -> there.

    Raises
    ------
    OSError, DatasetError : as for :func:`preprocess.datasets.tree.walk`.
    """
    return {key: there[0] for key, there in _images_like(root, keys, _plain).items()}


def in_other_form(root: Path, keys: Iterable[str]) -> dict[str, str]:
    """Find images below a folder whose paths are those of missing files but for their Unicode form: missing -> there.

    Raises
    ------
    OSError, DatasetError : as for :func:`preprocess.datasets.tree.walk`.
    """
    found = _images_like(root, keys, lambda key: normalize("NFC", key))
    return {key: there[0] for key, there in found.items() if len(there) == 1}


def _images_like(root: Path, keys: Iterable[str], plain: Callable[[str], str]) -> dict[str, list[str]]:
    missing = {key: plain(key) for key in keys}
    found: dict[str, list[str]] = {each: [] for each in missing.values()}
    for level in walk(root):
        folder = os.path.relpath(level.path, root).replace(os.sep, "/")
        for name in level.files:
            key = name if folder == "." else f"{folder}/{name}"
            if suffix_of(name) in suffixes() and (each := plain(key)) in found:
                found[each].append(key)
    return {key: found[each] for key, each in missing.items() if found[each]}


def in_the_root(found: Found) -> dict[str, list[str]] | None:
    """Keep the files that lie where the ends say, from the root on; None if that is not one for each."""
    direct = {
        end: [key for key in keys if end in ((plain := normalize("NFC", key)), plain[: plain.rfind(".")])]
        for end, keys in found.items()
    }
    return direct if all(len(keys) == 1 for keys in direct.values()) else None


def folders_with_all(found: Found) -> list[str]:
    """Return the folders, relative to the root, that as a root would give one file for each end; "" is none of them."""
    held, direct = Counter(), Counter()
    ends: dict[str, set[str]] = {}
    for end, keys in found.items():
        for key in keys:
            parts = key.split("/")[:-1]
            direct["/".join(parts[: len(parts) - end.count("/")])] += 1
            for depth in range(1, len(parts) - end.count("/") + 1):
                folder = "/".join(parts[:depth])
                held[folder] += 1
                ends.setdefault(folder, set()).add(end)
    right = [
        folder
        for folder, all_of_them in ends.items()
        if len(all_of_them) == len(found) and len(found) in (held[folder], direct[folder])
    ]
    return sorted(
        folder
        for folder in right
        if direct[folder] == len(found) or not any(other.startswith(f"{folder}/") for other in right)
    )


def folders_of(found: Found) -> Counter:
    """Count the files by their folders, relative to the root, of a listing that has one for each end."""
    return Counter(posixpath.dirname(keys[0]) for keys in found.values())


def may_look_beside(root: Path, request: Request) -> bool:
    """Whether a root is a folder for tables that nobody named: the images of the set may be beside it."""
    is_default = not request.rooted and is_same(root, common_folder(request.table))
    return is_default and _PARTS.fullmatch(root.absolute().name.lower()) is not None


def beside(root: Path, ends: Iterable[str]) -> list[Path]:
    """Return the folder above the root, and those in it, that have a file for each end where the end says."""
    home = Path(os.path.abspath(root))  # noqa: PTH100 - links stay
    near = [home.parent, *folders_in(home.parent)[:_BESIDE]]
    ends = list(ends)
    return [folder for folder in near if folder != home and ends and _holds(folder, ends)]


def _holds(folder: Path, ends: Sequence[str]) -> bool:
    names: dict[str, set[str]] = {}
    for end in ends:
        inside, last = posixpath.split(end)
        if inside not in names:
            names[inside] = _names(folder / inside)
        if last not in names[inside]:
            return False
    return True


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {end for entry in entries if entry.is_file() for end in _ends(entry.name)}
    except OSError:
        return set()


def _plain(key: str) -> str:
    """A path in lower case and NFC, without the suffix of an image."""
    stem = os.path.splitext(key)[0] if suffix_of(key) in suffixes() else key  # noqa: PTH122
    return normalize("NFC", stem.casefold())


def _ends(name: str) -> Iterator[str]:
    """A name in NFC, and that of an image without its suffix."""
    name = normalize("NFC", name)
    yield name
    stem = name[: name.rfind(".")]
    if suffix_of(name) in suffixes() and suffix_of(stem) not in suffixes():
        yield stem
