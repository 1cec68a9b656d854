"""Files that are whole or not there: written aside, synced, renamed. For both packages."""

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
    """Put bytes under a final name at once: see :func:`writing_aside`."""
    with writing_aside(path, before_naming=before_naming) as file:
        file.write(data)


def try_writing(path: Path) -> None:
    """Raise now the OSError that would otherwise come after the work, for example of a name that is too long."""

    def stop() -> None:
        raise _TriedError

    with contextlib.suppress(_TriedError), writing_aside(path, before_naming=stop):
        pass


def publish(path: Path, header: bytes, payload: bytes, new: bool = False) -> bool:
    """Put a complete file under its final name, or nothing.

    Parameters
    ----------
    path : final name.
    header, payload : the bytes, in two parts.
    new : leave a file alone that has the name already, and return False.
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
    """Open a hidden file beside ``path``; at the end it takes that name, complete and on the disk. Failure removes it.

    Parameters
    ----------
    path : final name; its folder is made.
    new : a file that has the name already is left alone.
    before_naming : is called when all bytes are on the disk, just before the file takes its name.

    Raises
    ------
    NameTakenError : ``new``, and there is a file of that name.
    OSError : it cannot be written; the error names ``path``.
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
                if fcntl is None:  # Windows renames closed files only
                    file.close()
                before_naming()
                _name(aside, path, new)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """See that the names in a folder are on the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the system say which file it is about: a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_of(path: Path) -> int:
    """Size of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def lock(file: BinaryIO) -> None:
    """Wait until no other process holds this file. Does nothing on a file system without locks."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def is_leftover(path: Path) -> bool:
    """Whether a file was being written aside when its process was killed."""
    return re.fullmatch(r"\..+\.(\d+-)?[0-9a-f]{8}\.tmp", path.name) is not None


def sweep(leftovers: Iterable[Path]) -> None:
    """Remove files that killed processes wrote aside, but not those of living ones, which hold a lock.

    Nothing but tidiness rests on the lock: a builder whose file is swept away all the same writes it again.
    """
    if fcntl is None:
        return
    for aside in leftovers:
        with contextlib.suppress(OSError), aside.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.unlink()


class NameTakenError(Exception):
    """Another process was the first to publish a file of this name."""


class _TriedError(Exception):
    """All but the name is in place, which was to be tried."""


class _SweptAwayError(Exception):
    """Another process removed the file before it had its name."""


def _name(aside: Path, path: Path, new: bool) -> None:
    try:
        if new and _link(aside, path):
            aside.unlink(missing_ok=True)
        else:
            aside.replace(path)
    except FileNotFoundError:
        raise _SweptAwayError from None


def _link(aside: Path, path: Path) -> bool:
    """Give the file a second name, which fails where the name is taken; False where a file system has no links."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise NameTakenError from None
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
