"""Read a file of a store at any place, without HDF5: for this the places of all samples are known."""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from preprocess.inputs import open_regular

Stamp = tuple[int, int, int, int]


class OpenFile:
    """A file that opens when it is first read, and again when it is read after :meth:`close`.

    Parameters
    ----------
    path : its path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process has it open."""
        return self._file is not None

    def open(self) -> Stamp:
        """Open the file unless it is open; what is equal for equal files tells whether another one has its name now.

        Raises
        ------
        OSError : missing, or not a regular file.
        """
        if self._file is None:
            self._file = open_regular(self.path)
            found = os.fstat(self._file.fileno())
            self._stamp = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        return self._stamp

    def read(self, out: np.ndarray, place: int) -> None:
        """Fill a contiguous array with the bytes from a place on.

        Raises
        ------
        OSError : they cannot be read.
        EOFError : the file ends before.
        """
        self.open()
        rest = memoryview(out.reshape(-1).view(np.uint8))
        while rest:
            count = _read(self._file, rest, place)
            if not count:
                raise EOFError(f"{self.path} ends at {place}")
            rest, place = rest[count:], place + count

    def close(self) -> None:
        """Close the file if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()


def _read(file: BinaryIO, out: memoryview, place: int) -> int:
    """Read what comes at once; return the number of bytes."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [out], place)
    file.seek(place)  # Windows
    return file.readinto(out)
