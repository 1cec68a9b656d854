"""What may stand in the place of a regular file."""

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _pipe_behind_a_link(path: Path, outside: Path) -> None:
    os.mkfifo(outside / "pipe")
    path.symlink_to(outside / "pipe")


def _socket(path: Path, outside: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of a socket has at most 108 bytes
    finally:
        os.close(folder)


def _leaving(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "kept")


SPECIAL: dict[str, Callable[[Path, Path], None]] = {
    "pipe": lambda path, outside: os.mkfifo(path),
    "socket": _socket,
    "folder": lambda path, outside: path.mkdir(),
    "empty": lambda path, outside: path.touch(),
    "device": lambda path, outside: path.symlink_to("/dev/null"),
    "endless": lambda path, outside: path.symlink_to("/dev/zero"),
    "link to itself": lambda path, outside: path.symlink_to(path.name),
    "link to a pipe": _pipe_behind_a_link,
    "link to a secret": lambda path, outside: path.symlink_to(outside / "secret.bin"),
    "link that dangles": lambda path, outside: path.symlink_to(outside / "none"),
}
# These hold what the file held.
LEAVING: dict[str, Callable[[Path, Path], None]] = {
    "link that leaves": _leaving,
    "hard link": lambda path, outside: path.hardlink_to(outside / "kept"),
}


def instead(path: Path, outside: Path, what: str) -> None:
    """Put something else in the place of a file, whose content is then ``outside / "kept"``."""
    path.replace(outside / "kept")
    (SPECIAL | LEAVING)[what](path, outside)
