"""List untrusted tar files by their headers; no content is read."""

import re
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from preprocess.errors import DatasetError

_BLOCK = tarfile.BLOCKSIZE
_LONGEST = 1 << 16  # bytes of the longest header
_EXTENDED = b"x"  # type of a header that adds to the next one
_TIMES = re.compile(rb"(\d+ [amc]time=[-+.\d]+\n)+")  # all that most of these add
_NUMBER = re.compile(rb" *([0-7]{1,12})[ \0]*")
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
        tar, end = tarfile.TarFile(fileobj=_Headers(file)), 0
        while True:
            found = None if tar.pax_headers else _plain(file, end)
            if found is not None:
                end = found.offset + _padded(found.size)
            else:
                tar.offset, tar.firstmember = end, None
                file.seek(end)
                if (info := tar.next()) is None:
                    break
                if info.size < 0 or tar.offset <= end:  # next would come back here for ever
                    raise tarfile.ReadError(f"no member ends at byte {tar.offset}")
                end, found = tar.offset, _member(info)
                tar.members.clear()  # or a million members would stay in memory
            if isinstance(found, Member) and found.offset + found.size > size:
                raise tarfile.ReadError(f"{found.name[:200]!r} ends after the file")
            if found is not None:
                yield found
        _check_end(file, end, size)
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{path} is damaged: {reason}; {_REMEDY}") from None


def _member(info: tarfile.TarInfo) -> Member | str | None:
    if info.isreg() and not info.issparse():
        return Member(info.name, info.offset_data, info.size)
    return None if info.isdir() else info.name


def _plain(file: BinaryIO, place: int) -> Member | None:
    """Read a header as most are, several times as fast as tarfile does; None for any other."""
    file.seek(place)
    header = file.read(_BLOCK)
    if header[156:157] == _EXTENDED and (size := _size(header)) is not None and size <= _LONGEST:
        if not _TIMES.fullmatch(file.read(size)):
            return None
        place += _BLOCK + _padded(size)
        file.seek(place)
        header = file.read(_BLOCK)
    size = _size(header)
    if size is None or header[156:157] not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        return None
    name, prefix = (part.partition(b"\0")[0] for part in (header[:100], header[345:500]))
    name = (prefix + b"/" if prefix else b"") + name
    if name.endswith(b"/"):  # a folder, long ago
        return None
    return Member(name.decode("utf-8", "surrogateescape"), place + _BLOCK, size)


def _size(header: bytes) -> int | None:
    """The bytes that follow a header; None if it is not sound, or says it in another way than most."""
    size, stated = _NUMBER.fullmatch(header[124:136]), _NUMBER.fullmatch(header[148:156])
    if len(header) < _BLOCK or size is None or stated is None:
        return None
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return int(size[1], 8) if total == int(stated[1], 8) else None


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _check_end(file: BinaryIO, offset: int, size: int) -> None:
    """Check that a block of zeros follows the last member: ``next`` also stops at damaged headers and truncation."""
    file.seek(offset)
    if size < offset + _BLOCK:
        raise tarfile.ReadError("unexpected end of data")
    if file.read(_BLOCK).strip(b"\0"):
        raise tarfile.ReadError(f"no member begins at byte {offset}")


class _Headers:
    """A tar file, of which no header may fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.tell, self.seek = file, file.tell, file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)
