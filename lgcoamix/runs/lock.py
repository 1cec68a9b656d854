"""The lock of a run folder: one process trains in it at a time. Needs no torch."""

import fcntl
import os
from pathlib import Path
from typing import IO

from lgcoamix.errors import FolderTakenError


def lock_folder(folder: Path) -> IO[bytes]:
    """Lock a folder until the returned file is closed, or the process ends.

    Raises
    ------
    FolderTakenError : another process holds the lock.
    """
    file = _open(folder, os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise FolderTakenError(
            f"another process is training in {folder}; wait for it, or choose another --out"
        ) from None
    return file


def is_taken(folder: Path) -> bool:
    """Whether a process holds the lock of a folder now."""
    try:
        with _open(folder) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the folder is not there, or a file system has no locks
        return False
    return False


def _open(folder: Path, flags: int = 0) -> IO[bytes]:
    # Not through a link, and without waiting for a FIFO.
    return os.fdopen(os.open(folder / ".lock", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o666), "r+b", 0)
