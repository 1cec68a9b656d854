"""Archives to folders: tar and zip files that other people made, every member checked before it is written."""

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
_BLOCK = 1 << 18  # bytes read at a time
_ENCRYPTED = 1  # the bit of a zip member's flags
# The last two: numbers and names in headers that cannot be read.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError)


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(_ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Write what a tar or zip file holds into a new folder: folders and regular files, with plain modes, nothing else.

    Parameters
    ----------
    archive : .tar, .tar.gz, .tgz or .zip; it is read as a stream.
    folder : must not be there. It is removed again if the archive cannot be unpacked.

    Raises
    ------
    DatasetError : the archive is damaged, or holds a link, a device, an encrypted member or a path out of its folder.
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
    """One entry of an archive.

    Parameters
    ----------
    name : its path as the archive states it.
    mode : its type, as ``stat.S_IFMT`` gives it: S_IFDIR, S_IFREG, or another for what is neither.
    encrypted : it asks for a password.
    open : opens its content.
    """

    name: str
    mode: int
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
        raise DatasetError(f"{archive} cannot be unpacked here ({error}); unpack it with another tool") from None
    except _DAMAGE as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        # Without a path: the words of gzip, or a jump to where a damaged number points.
        if error.filename is None and error.errno in (None, errno.EINVAL):
            raise _damaged(archive, error) from None
        raise


def _damaged(archive: Path, error: Exception) -> DatasetError:
    reason = str(error) or type(error).__name__
    return DatasetError(f"{archive} is damaged: {reason}; remove it and run the command again")


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
            tar.members.clear()  # else a million members stay in memory
            mode = stat.S_IFDIR if info.isdir() else stat.S_IFREG if info.isreg() else 0
            yield _Member(info.name, mode, False, lambda info=info: tar.extractfile(info))
        _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """``next`` also ends at a damaged header and at the end of a cut file: only zeros may follow, and some must.

    Reading to the end also makes a gzip file compare its checksum.
    """
    while block := tar.fileobj.read(_BLOCK):
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no member begins at byte {tar.offset}")
    if tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("unexpected end of data")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where no Unix wrote it
            mode = mode or (stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFREG)
            encrypted = bool(info.flag_bits & _ENCRYPTED)
            yield _Member(info.orig_filename, mode, encrypted, lambda info=info: file.open(info))


def _check(archive: Path, member: _Member) -> None:
    if reason := _objection(member):
        raise DatasetError(
            f"archive {archive} holds {member.name!r}, which {reason}: it is not the published file; "
            "nothing was unpacked"
        )


def _objection(member: _Member) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or PureWindowsPath(member.name).drive:
        return "would leave its folder"
    if not member.name or "\0" in member.name or (not path.parts and member.mode != stat.S_IFDIR):
        return "has no usable name"
    if member.mode not in (stat.S_IFDIR, stat.S_IFREG):
        return "is neither a file nor a folder"
    if member.encrypted:
        return "is encrypted"
    return None
