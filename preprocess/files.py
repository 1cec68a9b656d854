"""Atomic writing for both packages: files are written aside, synced and renamed."""

import contextlib
import errno
import glob
import hashlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from preprocess import interrupt

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_AGAIN = "and run the same command again"
_NETWORK = f"check the network, and the mount if it is a network drive, {_AGAIN}"
# What to do about a failure of the system, by its name: not every system has all. The others have their own text alone.
_REMEDIES = {
    getattr(errno, name): remedy
    for names, remedy in (
        ("ENOSPC", f"free space on that disk {_AGAIN}"),
        ("EDQUOT", f"free space within your quota {_AGAIN}"),
        ("EFBIG", "raise the limit of the size of files (ulimit -f) or write to another file system"),
        ("EROFS", "write to another file system"),
        ("EOPNOTSUPP ENOSYS", "this file system cannot do that: write to another one"),
        ("EACCES EPERM", "allow it, or choose another path"),
        ("EIO", "the disk may be failing: check it, or choose another path"),
        ("ENXIO ENODEV", f"check that the disk or drive is connected and mounted, {_AGAIN}"),
        ("ESTALE", f"the network drive has lost it: mount it again {_AGAIN}"),
        ("ENAMETOOLONG", "use a shorter name, or a path with fewer folders"),
        (
            "EMFILE ENFILE",
            f"raise the limit of open files (ulimit -n 4096), or use fewer --jobs or --workers, {_AGAIN}",
        ),
        ("ENOMEM", f"close other programs, or use fewer --jobs or --workers, {_AGAIN}"),
        ("ELOOP", "a link leads back to itself: remove it, or choose another path"),
        ("ENOTDIR", "a part of this path is a file: choose another path"),
        ("EBUSY ETXTBSY", f"close the program that uses it {_AGAIN}"),
        ("ENOLCK EDEADLK", f"this file system is out of locks: wait a moment {_AGAIN}"),
        ("ECONNREFUSED ECONNRESET ECONNABORTED ENOTCONN ETIMEDOUT", _NETWORK),
        ("ENETDOWN ENETUNREACH EHOSTDOWN EHOSTUNREACH ENONET EREMOTEIO ECOMM", _NETWORK),
    )
    for name in names.split()
    if hasattr(errno, name)
}


def describe(error: OSError | MemoryError) -> str:
    """Say which file failed, how, and what to do."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or use a machine with more"
    where = f"{error.filename}: " if error.filename else ""
    its_own = error.errno in _REMEDIES and error.strerror == os.strerror(error.errno)  # not a text of this program
    remedy = f"; {_REMEDIES[error.errno]}" if its_own else ""
    return f"{where}{error.strerror or error}{remedy}"


def write_whole(path: Path, data: bytes | memoryview, before_naming: Callable[[], None] = lambda: None) -> None:
    """Write a file atomically: see :func:`writing_aside`."""
    with writing_aside(path, before_naming=before_naming) as file:
        file.write(data)


def publish(path: Path, header: bytes, payload: bytes, new: bool = False) -> bool:
    """Write a file atomically from two parts.

    Parameters
    ----------
    path : final name.
    header, payload : the bytes, in two parts.
    new : keep an existing file and return False.
    """
    while True:
        try:
            with writing_aside(path, new) as file:
                file.write(header)
                file.write(payload)
            return True
        except _SweptAwayError:
            continue
        except NameTakenError:
            return False


@contextlib.contextmanager
def writing_aside(
    path: Path, new: bool = False, before_naming: Callable[[], None] = lambda: None
) -> Iterator[BinaryIO]:
    """Open a hidden file beside ``path`` that takes its name once complete and synced. Failure removes it.

    Parameters
    ----------
    path : final name; its folder is created if missing.
    new : refuse to replace an existing file.
    before_naming : called once all bytes are on disk, just before the rename.

    Raises
    ------
    NameTakenError : ``new`` is set and the file exists.
    OSError : the file cannot be written; the error names ``path``.
    """
    aside = _hidden(path)
    with _folder_for(path), _told_as(aside, path):
        try:
            undo = interrupt.undoing(lambda: aside.unlink(missing_ok=True))
            with undo, io.BufferedRandom(_NamedFile(aside, "x+")) as file:
                lock(file)
                yield file
                with named(path):
                    file.flush()
                    os.fsync(file.fileno())
                    if fcntl is None:  # Windows renames only closed files
                        file.close()
                    before_naming()
                    _name(aside, path, new)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a hidden file beside a path for as long as the context lasts; then it is removed.

    Raises
    ------
    OSError : the file cannot be written.
    """
    path = _hidden(beside)
    with _folder_for(path):
        try:
            undo = interrupt.undoing(lambda: path.unlink(missing_ok=True))
            with undo, io.BufferedRandom(_NamedFile(path, "x+")) as file:
                lock(file)
                yield path, file
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def making_aside(folder: Path, name: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """Make a hidden folder beside ``folder`` that takes its name once complete. Failure removes it.

    Files at its top are synced. Those in folders below are not: there may be a million.

    Parameters
    ----------
    folder : final name.
    name : called with the hidden folder and ``folder`` to give it its name.

    Raises
    ------
    OSError : the folder cannot be made or named.
    """
    aside = _hidden(folder)
    with _folder_for(folder), _told_as(aside, folder):
        aside.mkdir()
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            with interrupt.undoing(lambda: shutil.rmtree(aside, ignore_errors=True)):
                lock(descriptor)
                yield aside
                for path in filter(Path.is_file, aside.iterdir()):
                    with path.open("rb") as file:
                        os.fsync(file)
                name(aside, folder)
        finally:
            os.close(descriptor)
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(folder.parent)


def exchange(aside: Path, folder: Path) -> None:
    """Give a folder the name of another one, which is removed, or stays if that fails.

    A kill in between leaves the earlier folder under a hidden name that ends in ``.before``.
    """
    before = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.before")

    def put_back() -> None:
        if before.exists() and not folder.exists():
            before.replace(folder)

    with interrupt.undoing(put_back):
        try:
            folder.replace(before)
            aside.replace(folder)
        except BaseException:
            put_back()
            raise
    for old in folder.parent.glob(f".{glob.escape(folder.name)}.*.before"):
        shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Sync the entries of a folder to disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the file name to an OSError that lacks one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_of(path: Path | str) -> int:
    """Return the size of a file in bytes; -1 if it is missing."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - text for a million of them
    except OSError:
        return -1


def lock(file: BinaryIO | int) -> None:
    """Wait for an exclusive lock on a file. Does nothing on a file system without locks."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def is_leftover(path: Path) -> bool:
    """Whether a file or folder was left behind by a process killed while writing."""
    return re.fullmatch(r"\..+\.(\d+-)?[0-9a-f]{8}\.tmp", path.name) is not None


def leftovers_of(path: Path) -> Iterator[Path]:
    """What killed processes left behind while they wrote one file or folder."""
    return filter(is_leftover, path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def sweep(leftovers: Iterable[Path]) -> None:
    """Remove what killed processes left half-written, but not the work of running ones, which hold a lock.

    Correctness does not depend on the lock: a builder whose file is removed anyway writes it again.
    """
    if fcntl is None:
        return
    for aside in leftovers:
        with contextlib.suppress(OSError):
            is_folder = aside.is_dir()
            descriptor = os.open(aside, os.O_RDONLY if is_folder else os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(aside) if is_folder else aside.unlink()
            finally:
                os.close(descriptor)


class NameTakenError(Exception):
    """Another process published a file of this name first."""


class _SweptAwayError(FileNotFoundError):
    """Another process removed the file before it was renamed."""


class _NamedFile(io.FileIO):
    """A file whose failures to write name it."""

    def write(self, data: bytes | memoryview) -> int:
        with named(Path(self.name)):
            return super().write(data)


@contextlib.contextmanager
def _told_as(aside: Path, path: Path) -> Iterator[None]:
    """Let an OSError about something hidden name what it was to become."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(aside):
            error.filename = str(path / Path(error.filename).relative_to(aside))
        raise


@contextlib.contextmanager
def _folder_for(path: Path) -> Iterator[None]:
    """Create the folder of a file or folder; failure removes what was created."""
    missing = []
    with named(path):
        if not path.parent.is_dir():
            missing = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)

    def remove() -> None:
        with contextlib.suppress(OSError):  # somebody else may have put something there
            for folder in missing:
                folder.rmdir()

    try:
        with interrupt.undoing(remove):
            yield
    except BaseException:
        remove()
        raise


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _name(aside: Path, path: Path, new: bool) -> None:
    try:
        if new and _link(aside, path):
            aside.unlink(missing_ok=True)
        else:
            aside.replace(path)
    except FileNotFoundError:
        raise _SweptAwayError(errno.ENOENT, "it was removed while it was written", str(path)) from None


def _link(aside: Path, path: Path) -> bool:
    """Hard-link the file to its final name, which fails if that exists; False if the file system has no links."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise NameTakenError from None
    except FileNotFoundError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise NameTakenError from None
        return False
    return True
