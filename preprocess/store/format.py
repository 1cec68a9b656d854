"""What every file of a store has in common: the sealed envelope, identity keys, publishing.

A file of a store is an HDF5 file behind a user block of 512 bytes (which HDF5 tools skip). The user block is text and
holds the SHA-256 of all that follows, so each file proves itself, and one flipped bit anywhere is found.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from preprocess.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMAT_VERSION = 2
HEADER_BYTES = 512
_MAGIC = "LGCOAMix store"


def canonical(document: object) -> str:
    """Write plain data as JSON in the one form that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(document: object) -> str:
    """Name plain data by the first 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()[:16]


def seal(payload: bytes, kind: str) -> tuple[bytes, str]:
    """Return the user block for an HDF5 image and the hexadecimal SHA-256 that it states.

    Parameters
    ----------
    payload : a complete HDF5 file without user block.
    kind : ``"index"``, ``"shard"`` or ``"pack"``.
    """
    digest = hashlib.sha256(payload).hexdigest()
    return header_of(kind, digest), digest


def header_of(kind: str, digest: str) -> bytes:
    """The user block of a file: what it is, the version of the format, the SHA-256 of all that follows."""
    text = f"{_MAGIC} {kind}\nversion: {FORMAT_VERSION}\nsha256: {digest}\n"
    return text.encode().ljust(HEADER_BYTES, b"\0")


def check_header(header: bytes, kind: str, path: Path) -> str:
    """Read a user block and return the SHA-256 that it states.

    Raises
    ------
    StoreError : not a file of a store, another kind, another format version, or a damaged block.
    """
    lines = header.rstrip(b"\0").decode("ascii", "replace").split("\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if len(header) != HEADER_BYTES or lines[0] != f"{_MAGIC} {kind}":
        raise StoreError(
            f"{path} is not the {kind} of a store (or its first bytes are damaged); "
            f"make one with: python -m preprocess build"
        )
    version, digest = fields.get("version", ""), fields.get("sha256", "")
    if version != str(FORMAT_VERSION) and version.isdigit():
        raise StoreError(
            f"{path} has store format version {version}, this program reads version {FORMAT_VERSION}; "
            "build the store again, or use the program that wrote it"
        )
    if header != header_of(kind, digest):
        raise StoreError(f"{path} is damaged in its first {HEADER_BYTES} bytes")
    return digest


def kind_of(path: Path) -> str:
    """The kind that a file says it is; empty for a foreign or missing one."""
    try:
        with path.open("rb") as file:
            first = file.readline(HEADER_BYTES).decode("ascii", "replace").rstrip("\n")
    except OSError:
        return ""
    return first.removeprefix(f"{_MAGIC} ") if first.startswith(_MAGIC) else ""


def check_file(path: Path, kind: str) -> tuple[int, str]:
    """Read a whole file of a store and compare it with the digest in its user block.

    Returns
    -------
    Size in bytes and SHA-256 of the payload.

    Raises
    ------
    StoreError : missing, foreign, or not what was written.
    """
    try:
        with path.open("rb") as file:
            stated = check_header(file.read(HEADER_BYTES), kind, path)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if found != stated:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest")
    return size, found


def publish(path: Path, header: bytes, payload: bytes, new: bool = False) -> bool:
    """Put a complete file under its final name, or nothing: write aside, fsync, rename, fsync the folder.

    Parameters
    ----------
    path : final name.
    header, payload : the user block, and the HDF5 file behind it.
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
def writing_aside(path: Path, new: bool = False) -> Iterator[BinaryIO]:
    """Open a hidden file beside ``path``; at the end it takes that name, complete and on the disk. Failure removes it.

    Raises
    ------
    NameTakenError : ``new``, and there is a file of that name.
    """
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
            _name(aside, path, new)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def lock(file: BinaryIO) -> None:
    """Wait until no other process holds this file. Does nothing on a file system without locks."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


class NameTakenError(Exception):
    """Another process was the first to publish a file of this name."""


class _SweptAwayError(Exception):
    """Another builder removed the file before it had its name."""


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


def bytes_of(path: Path) -> int:
    """Size of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sweep(leftovers: Iterable[Path]) -> None:
    """Remove files that killed builders wrote aside, but not those of living ones, which hold a lock.

    Nothing but tidiness rests on the lock: a builder whose file is swept away all the same writes it again.
    """
    if fcntl is None:
        return
    for aside in leftovers:
        with contextlib.suppress(OSError), aside.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.unlink()
