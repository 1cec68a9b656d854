"""List untrusted tar files by their headers; no content is read."""

import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from preprocess.errors import DatasetError

_BLOCK = 1 << 16  # bytes of the longest header
# The last four: invalid numbers and names in headers, headers of headers.
_DAMAGE = (tarfile.TarError, EOFError, struct.error, ValueError, OverflowError, RecursionError)
_REMEDY = "fetch or write it again"


class Member(NamedTuple):
    """A regular file of a tar file: its path, and where its bytes are."""

    name: str
    offset: int
    size: int


def members(path: Path, file: BinaryIO) -> Iterator[Member | str]:
    """Yield the regular files of an open, uncompressed tar file; of links, devices and sparse files, the name alone.

    Raises
    ------
    DatasetError : the file is damaged or truncated.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        tar, end = tarfile.TarFile(fileobj=_Headers(file)), -1
        while (info := tar.next()) is not None:
            if info.size < 0 or tar.offset <= end:  # next would come back here for ever
                raise tarfile.ReadError(f"no member ends at byte {tar.offset}")
            end = tar.offset
            tar.members.clear()  # or a million members would stay in memory
            if info.isreg() and not info.issparse():
                if info.offset_data + info.size > size:
                    raise tarfile.ReadError(f"{info.name[:200]!r} ends after the file")
                yield Member(info.name, info.offset_data, info.size)
            elif not info.isdir():
                yield info.name
        _check_end(file, tar.offset, size)
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{path} is damaged: {reason}; {_REMEDY}") from None


def _check_end(file: BinaryIO, offset: int, size: int) -> None:
    """Check that a block of zeros follows the last member: ``next`` also stops at damaged headers and truncation."""
    file.seek(offset)
    if size < offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("unexpected end of data")
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no member begins at byte {offset}")


class _Headers:
    """A tar file, of which no header may fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.tell, self.seek = file, file.tell, file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _BLOCK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)
