"""Unpack untrusted tar and zip files, checking every member before writing it."""

import contextlib
import errno
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
from typing import IO

from preprocess.errors import DatasetError

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
_BLOCK = 1 << 18  # bytes per read
_ENCRYPTED = 1  # flag bit of a zip member
# The last two: invalid numbers and names in headers.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError)


def is_archive(name: str) -> bool:
    """Whether a file name denotes an archive to unpack."""
    return name.lower().endswith(_ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip file into a new folder: only folders and regular files, with default modes.

    Parameters
    ----------
    archive : .tar, .tar.gz, .tgz or .zip file; read as a stream.
    folder : must not exist. It is removed if the archive cannot be unpacked.

    Raises
    ------
    DatasetError : the archive is damaged, or has a link, a device, an encrypted member or a path outside its folder.
    OSError : a file cannot be written.
    """
    folder.mkdir(parents=True)
    try:
        _write(archive, folder)
    except (DatasetError, OSError):
        shutil.rmtree(folder)
        raise


@dataclass(frozen=True)
class _Member:
    """One entry of an archive."""

    name: str  # path as stored in the archive
    mode: int  # file type as in ``stat.S_IFMT``: S_IFDIR, S_IFREG, or another value for anything else
    encrypted: bool
    open: Callable[[], IO[bytes]]


def _write(archive: Path, folder: Path) -> None:
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    try:
        with contextlib.closing(members(archive)) as found:
            for member in found:
                _check(archive, member)
                _write_member(member, folder / member.name)
    except NotImplementedError as error:  # a zip method that Python lacks
        raise DatasetError(f"{archive} cannot be unpacked with Python ({error}); unpack it with another tool") from None
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


def _write_member(member: _Member, path: Path) -> None:
    if member.mode == stat.S_IFDIR:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # or a million members would stay in memory
            mode = stat.S_IFDIR if info.isdir() else stat.S_IFREG if info.isreg() else 0
            yield _Member(info.name, mode, False, lambda info=info: tar.extractfile(info))
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


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)  # 0 if not written on Unix
            mode = mode or (stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFREG)
            encrypted = bool(info.flag_bits & _ENCRYPTED)
            yield _Member(info.orig_filename, mode, encrypted, lambda info=info: file.open(info))


def _check(archive: Path, member: _Member) -> None:
    if reason := _objection(member):
        raise DatasetError(
            f"archive {archive} contains {member.name!r}, which {reason}: it is not the published file; "
            "nothing was unpacked"
        )


def _objection(member: _Member) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or PureWindowsPath(member.name).drive:
        return "would be written outside its folder"
    if not member.name or "\0" in member.name or (not path.parts and member.mode != stat.S_IFDIR):
        return "has no usable name"
    if member.mode not in (stat.S_IFDIR, stat.S_IFREG):
        return "is neither a file nor a folder"
    if member.encrypted:
        return "is encrypted"
    return None
