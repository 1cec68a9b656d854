"""Unpack untrusted tar and zip files, checking every member before writing it."""

import contextlib
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO

from rich.filesize import decimal

from preprocess.errors import DatasetError
from preprocess.inputs import check_relative, open_regular

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
_BLOCK = 1 << 16  # bytes per read, and of the longest header
_TIMES, _SPARE = 10, 100_000_000  # published images unpack to 1.1 times their archive, tables to a few times
_ENTRY = 4096  # bytes that even an empty file or a folder takes on a disk
_DEEPEST = 32  # folders inside each other
_SHOWN = 300  # characters of a name
_ENCRYPTED = 1  # flag bit of a zip member
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, Python unpacks 64 KB to gigabytes in one call
# The last three: invalid numbers and names in headers, headers of headers.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error),
    *(ValueError, OverflowError, RecursionError),
)


def is_archive(name: str) -> bool:
    """Whether a file name denotes an archive to unpack."""
    return name.lower().endswith(_ENDINGS)


def unpack(archive: Path, folder: Path, most: int | None = None) -> None:
    """Unpack a tar or zip file into a new folder: only folders and regular files, with default modes.

    Parameters
    ----------
    archive : .tar, .tar.gz, .tgz or .zip file; read as a stream.
    folder : must not exist. It is removed if the archive cannot be unpacked.
    most : bytes that it may take on the disk; None for 10 times the archive and 100 MB.

    Raises
    ------
    DatasetError : the archive is damaged or unpacks to too much, or has a link, a device, an encrypted member or a path
        outside its folder.
    OSError : a file cannot be written.
    """
    folder.mkdir(parents=True)
    try:
        _write(archive, folder, _TIMES * archive.stat().st_size + _SPARE if most is None else most)
    except (DatasetError, OSError):
        shutil.rmtree(folder)
        raise


@dataclass(frozen=True)
class _Member:
    """One entry of an archive."""

    name: str  # path as stored in the archive
    size: int  # bytes that the archive states
    mode: int  # file type as in ``stat.S_IFMT``: S_IFDIR, S_IFREG, or another value for anything else
    encrypted: bool
    open: Callable[[], IO[bytes]]


def _write(archive: Path, folder: Path, most: int) -> None:
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    try:
        with contextlib.closing(members(archive, most)) as found:
            left = most
            for member in found:
                _check(archive, member)
                left = _write_member(member, folder / member.name, left - _ENTRY)
    except _TooMuchError:
        raise DatasetError(
            f"{archive} unpacks to more than {decimal(most)}: remove it, or, if you trust it, allow more with "
            "build --max-unpacked GB; nothing was unpacked"
        ) from None
    except NotImplementedError as error:  # a zip method or version
        raise DatasetError(f"{archive} cannot be unpacked here ({error}); unpack it with another tool") from None
    except _DAMAGE as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        # Without a path: an error of gzip, or a seek to an offset from a damaged header.
        if error.filename is None and error.errno in (None, errno.EINVAL):
            raise _damaged(archive, error) from None
        raise


def _damaged(archive: Path, error: Exception) -> DatasetError:
    reason = str(error) or type(error).__name__
    return DatasetError(f"{archive} is damaged: {reason}; remove it and rerun the command")


class _TooMuchError(Exception):
    """An archive unpacks to more than it may."""


def _write_member(member: _Member, path: Path, left: int) -> int:
    """Write a file or a folder of at most ``left`` bytes; return how many are left."""
    if member.size > left:
        raise _TooMuchError
    if member.mode == stat.S_IFDIR:
        path.mkdir(parents=True, exist_ok=True)
        return left
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, path.open("wb") as target:
        while block := source.read(_BLOCK):
            left -= len(block)  # whatever size the archive states
            if left < 0:
                raise _TooMuchError
            target.write(block)
    return left


class _Metered:
    """The unpacked bytes of a tar file: at most so many, and no header that fills the memory."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self.file, self.most, self.tell = file, most, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _BLOCK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        if self.tell() > self.most:
            raise _TooMuchError
        return self.file.read(size)

    def seek(self, place: int) -> int:
        if place > self.most:
            raise _TooMuchError
        return self.file.seek(place)


def _tar_members(archive: Path, most: int) -> Iterator[_Member]:
    with open_regular(archive) as file, contextlib.ExitStack() as stack:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        whole = stack.enter_context(gzip.open(file)) if packed else file
        tar = stack.enter_context(tarfile.TarFile(fileobj=_Metered(whole, most)))
        end = -1
        while (info := tar.next()) is not None:
            if info.size < 0 or tar.offset <= end:  # next would come back here for ever
                raise tarfile.ReadError(f"no member ends at byte {tar.offset}")
            end = tar.offset
            tar.members.clear()  # or a million members would stay in memory
            plain = info.isreg() and not info.issparse()
            mode = stat.S_IFDIR if info.isdir() else stat.S_IFREG if plain else 0
            yield _Member(info.name, info.size, mode, False, lambda info=info: tar.extractfile(info))
        _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """Check that only zeros follow, and at least one block: ``next`` also stops at damaged headers and truncation.

    Reading to the end also verifies the checksum of a gzip file.
    """
    while block := tar.fileobj.read(_BLOCK):
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no member begins at byte {tar.offset}")
    if tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("unexpected end of data")


def _zip_members(archive: Path, most: int) -> Iterator[_Member]:
    with open_regular(archive) as packed, zipfile.ZipFile(packed) as file:
        if sum(info.file_size for info in file.infolist()) > most:
            raise _TooMuchError
        for info in file.infolist():
            if info.compress_type not in _METHODS:
                raise NotImplementedError(f"compression method {info.compress_type}")
            mode = stat.S_IFMT(info.external_attr >> 16)  # 0 if not written on Unix
            mode = mode or (stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFREG)
            encrypted = bool(info.flag_bits & _ENCRYPTED)
            yield _Member(info.orig_filename, info.file_size, mode, encrypted, lambda info=info: file.open(info))


def _check(archive: Path, member: _Member) -> None:
    if reason := _objection(member):
        raise DatasetError(
            f"archive {archive} contains {member.name[:_SHOWN]!r}, which {reason}: it is not the published file; "
            "nothing was unpacked"
        )


def _objection(member: _Member) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or PureWindowsPath(member.name).drive:
        return "would be written outside its folder"
    if not member.name or (not path.parts and member.mode != stat.S_IFDIR):
        return "has no usable name"
    if len(path.parts) > _DEEPEST:
        return f"lies more than {_DEEPEST} folders deep"
    try:
        check_relative(str(path) if path.parts else "the root")
    except ValueError as error:
        return f"has no usable name ({error})"
    if member.mode not in (stat.S_IFDIR, stat.S_IFREG):
        return "is neither a file nor a folder"
    if member.encrypted:
        return "is encrypted"
    return None
