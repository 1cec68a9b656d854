"""From a cell of a table to a file under the root: paths as people write them."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TRIED = 3  # cells that suggest a way
_HIGHEST = 3  # folders above the root that are tried as a root
ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def clean(cell: str) -> str:
    """A path with forward slashes, without blanks around it."""
    return cell.strip().replace("\\", "/")


def last_folder(cell: str) -> str:
    """Return the name of the last folder of a path; empty if it has none, or no name."""
    folder = clean(cell).rpartition("/")[0].rpartition("/")[2]
    return "" if folder in (".", "..") else folder


def is_address(cell: str) -> bool:
    """Whether a cell is an address of the web or of a bucket."""
    return _ADDRESS.match(cell) is not None


@dataclass(frozen=True)
class Way:
    """How a cell becomes the path of a file, relative to the root.

    Parameters
    ----------
    root : of the data set.
    base : folder, relative to the root, that the cells are relative to.
    strip : what all cells begin with and the path lacks.
    suffix : what the path has after the cell.
    """

    root: Path
    base: str = ""
    strip: str = ""
    suffix: str = ""

    def key(self, cell: str) -> str:
        """Return the path relative to the root with forward slashes; outside of the root, the absolute path.

        ``cell`` is clean.
        """
        homes = _homes(self.root)
        if self.strip and cell.startswith(self.strip):
            cell = cell[len(self.strip) :]
        text = cell if ABSOLUTE.match(cell) else f"{homes[0]}{self.base}/{cell}{self.suffix}"
        path = os.path.normpath(text).replace(os.sep, "/")
        home = next((home for home in homes if path.startswith(home)), "")
        return path[len(home) :]

    def exists(self, cell: str) -> bool:
        """Whether a clean cell names a file under the root."""
        key = self.key(cell)
        return is_inside(key) and os.path.isfile(f"{self.root}/{key}")  # noqa: PTH113 - millions of them

    def hits(self, cells: Iterable[str]) -> int:
        """Count the cells that name a file under the root."""
        return sum(self.exists(cell) for cell in cells)

    def __str__(self) -> str:
        """Say it in words; empty if cells are paths relative to the root."""
        parts = [f"without {self.strip!r}"] if self.strip else []
        parts += [f"as {self.base + '/' if self.base else ''}<cell>{self.suffix}"] if self.base or self.suffix else []
        return ", ".join(parts)


def common_folder(files: Sequence[Path]) -> Path:
    """Return the folder that holds all files."""
    folders = [file.parent for file in files]
    if all(folder == folders[0] for folder in folders):
        return folders[0]
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))  # noqa: PTH100 - links stay


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are of one file or folder."""
    with suppress(OSError):
        return os.path.samefile(one, other)  # noqa: PTH121
    return False


def names_folder(root: Path, cell: str) -> bool:
    """Whether a clean cell, or what is left of it without its first parts, is the path of a folder under the root."""
    parts = [part for part in cell.split("/") if part]
    tails = ("/".join(parts[place:]) for place in range(len(parts)) if ".." not in parts[place:])
    return any(os.path.isdir(f"{root}/{tail}") for tail in tails)  # noqa: PTH112 - as files


def is_inside(key: str) -> bool:
    """Whether a path from :meth:`Way.key` is inside the root."""
    return not ABSOLUTE.match(key)


def find_way(root: Path, folder: Path, cells: Sequence[str]) -> tuple[Way, int]:
    """Return the way by which most of the cells name files, and how many do.

    Parameters
    ----------
    root : of the data set.
    folder : of the table; paths may be relative to it.
    cells : some of the table, clean.
    """
    plain = [Way(root), *([Way(root, base)] if (base := _relative(folder, root)) else [])]
    best = _best(plain, cells)
    return best if best[1] else _best([plain[0], *_stripped(root, cells)], cells)


def better_root(root: Path, folder: Path, cells: Sequence[str], keys: Sequence[str]) -> Path | None:
    """Return a root above or outside of this one under which all cells name files; None if there is none nearby.

    Parameters
    ----------
    root, folder : as for :func:`find_way`.
    cells : all of the table, clean.
    keys : what they became under ``root``.
    """
    with suppress(OSError, ValueError):
        for other in _roots(root, keys):
            way, hits = find_way(other, folder, cells[:_TRIED])
            if hits and not way.strip and all(way.exists(cell) for cell in cells):
                return other
    return None


def _roots(root: Path, keys: Sequence[str]) -> Iterator[Path]:
    home = os.path.abspath(root)  # noqa: PTH100
    folders = {os.path.dirname(key) if ABSOLUTE.match(key) else home for key in keys}  # noqa: PTH120
    if folders != {home}:
        yield Path(os.path.commonpath(folders))
    yield from list(Path(home).parents)[:_HIGHEST]


def _best(ways: Sequence[Way], cells: Sequence[str]) -> tuple[Way, int]:
    return max(((way, way.hits(cells)) for way in ways), key=lambda found: found[1], default=(Way(Path()), 0))


def _stripped(root: Path, cells: Sequence[str]) -> Iterator[Way]:
    """Ways without the first parts of paths, which are those of another machine or of a folder above the root."""
    for cell in cells[:_TRIED]:
        parts = cell.split("/")
        tails = ("/".join(parts[place:]) for place in range(1, len(parts)))
        for tail in tails:
            if tail and ".." not in tail.split("/") and Way(root).exists(tail):
                yield Way(root, strip=cell[: -len(tail)])
                break


@lru_cache(maxsize=8)
def _homes(root: Path) -> tuple[str, ...]:
    names = os.path.abspath(root), os.path.realpath(root)  # noqa: PTH100
    return tuple(f"{name.replace(os.sep, '/').rstrip('/')}/" for name in names)


def _relative(folder: Path, root: Path) -> str:
    try:
        base = os.path.relpath(folder, root).replace(os.sep, "/")
    except ValueError:  # another drive of Windows
        return ""
    return "" if base == "." else base
