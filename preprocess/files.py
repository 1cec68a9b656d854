"""Atomic writing for both packages: files are written aside, synced and renamed."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_whole(path: Path, data: bytes | memoryview, before_naming: Callable[[], None] = lambda: None) -> None:
    """Write a file atomically: see :func:`writing_aside`."""
    with writing_aside(path, before_naming=before_naming) as file:
        file.write(data)


def try_writing(path: Path) -> None:
    """Raise early any OSError that writing would raise after the work, such as for a name that is too long."""

    def stop() -> None:
        raise _TriedError

    with contextlib.suppress(_TriedError), writing_aside(path, before_naming=stop):
        pass


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
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with aside.open("w+b") as file:
                lock(file)
                yield file
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


def bytes_of(path: Path) -> int:
    """Return the size of a file in bytes; -1 if it is missing."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def lock(file: BinaryIO) -> None:
    """Wait for an exclusive lock on a file. Does nothing on a file system without locks."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def is_leftover(path: Path) -> bool:
    """Whether a file was left behind by a process killed while writing."""
    return re.fullmatch(r"\..+\.(\d+-)?[0-9a-f]{8}\.tmp", path.name) is not None


def sweep(leftovers: Iterable[Path]) -> None:
    """Remove half-written files of killed processes, but not those of running ones, which hold a lock.

    Correctness does not depend on the lock: a builder whose file is removed anyway writes it again.
    """
    if fcntl is None:
        return
    for aside in leftovers:
        with contextlib.suppress(OSError), aside.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.unlink()


class NameTakenError(Exception):
    """Another process published a file of this name first."""


class _TriedError(Exception):
    """Stops :func:`try_writing` just before the rename."""


class _SweptAwayError(Exception):
    """Another process removed the file before it was renamed."""


def _name(aside: Path, path: Path, new: bool) -> None:
    try:
        if new and _link(aside, path):
            aside.unlink(missing_ok=True)
        else:
            aside.replace(path)
    except FileNotFoundError:
        raise _SweptAwayError from None


def _link(aside: Path, path: Path) -> bool:
    """Hard-link the file to its final name, which fails if that exists; False if the file system has no links."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise NameTakenError from None
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
