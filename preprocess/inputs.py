"""Files that may come from somebody else: what they name stays inside a folder, and only regular files are opened."""

import errno
import os
import re
import stat
from pathlib import Path, PurePath
from typing import BinaryIO

from preprocess.text import shown_name

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_LONGEST_NAME = 255  # bytes, on all file systems in use
_PART = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}"
_MOST_PARTS = 200  # of a path: making or removing folders calls itself for each
_PLAIN = re.compile(f"{_PART}(?:/{_PART}){{0,{_MOST_PARTS - 1}}}")  # most paths: eight times as fast as the checks


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, at once: a FIFO would keep us waiting for its writer.

    Raises
    ------
    OSError : the file cannot be opened, or is a folder, FIFO, device or socket.
    """
    require_regular(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        _refuse(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int) -> bytes:
    """Read a whole file of at most ``most`` bytes.

    Raises
    ------
    OSError : the file cannot be read, is no regular file, or is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"too large: expected at most {most:,} bytes", str(path))
        return file.read(size or most)  # a file of /proc states no size; Python allocates what it is asked to read


def require_regular(path: Path) -> None:
    """Refuse a folder, FIFO, device or socket, before a library opens the path itself.

    Raises
    ------
    OSError : the file is missing, or not a regular file.
    """
    _refuse(path.stat().st_mode, path)


def confined(home: Path, relative: str) -> Path:
    """Return ``home / relative`` for a path that somebody else wrote.

    Raises
    ------
    ValueError : the path is absolute, has a part such as ``..``, or passes a link that leaves ``home``.
    """
    check_relative(relative)
    path = home / relative
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home)):  # resolve() raises on links in a circle
        raise ValueError(f"expected a path inside the folder, {relative!r} is a link that leaves it")
    return path


def check_relative(relative: str) -> None:
    """Refuse a text that is not the path of something below a folder, with ``/`` between its parts.

    Raises
    ------
    ValueError : says what is wrong with the path.
    """
    if _PLAIN.fullmatch(relative):
        return
    parts = relative.split("/")
    native = PurePath(relative)  # on Windows, drives and backslashes count as well
    if native.anchor or relative.startswith("/"):
        raise ValueError(f"expected a relative path, got {relative!r}")
    if not {"", ".", ".."}.isdisjoint((*parts, *native.parts)):
        raise ValueError(f"expected a path without empty parts, '.' and '..', got {relative!r}")
    if shown_name(relative) != relative:
        raise ValueError(f"expected a path without control characters, got {relative!r}")
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"expected at most {_MOST_PARTS} names inside each other, got {len(parts)}")
    if max(len(part.encode()) for part in parts) > _LONGEST_NAME:
        raise ValueError(f"expected names of at most {_LONGEST_NAME} bytes, got {relative[:60]!r}...")


def _refuse(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise OSError(errno.EINVAL, f"expected a regular file, it is {kind}", str(path))
