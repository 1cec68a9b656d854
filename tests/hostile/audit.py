"""Watch a process from within and stop what no command has a reason for, by Python's audit events."""

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn", "ctypes.dlopen"),
    *("socket.gethostbyname", "socket.sendto", "urllib.Request"),
}
# Number of paths among the first arguments.
_PLACES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.symlink"), 1),
    **dict.fromkeys(("os.rename", "os.link"), 2),
}
_HARMFUL = {"os", "posix", "subprocess", "sys", "shutil", "socket", "builtins", "runpy", "webbrowser"}
_HARMLESS = {"set", "frozenset", "getattr", "slice"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Rules:
    """Whether an event is a fault."""

    def __init__(self, writable: list[str], ports: list[int]) -> None:
        self.homes = tuple(os.path.realpath(home) for home in writable)
        self.addresses = {("127.0.0.1", port) for port in ports}
        self.rules: dict[str, Callable[[tuple], bool]] = {
            "open": lambda given: isinstance(given[2], int) and bool(given[2] & _WRITES) and self._is_outside(given[0]),
            "subprocess.Popen": lambda given: given[0] != "git",  # a run notes its commit
            "socket.connect": lambda given: tuple(given[1])[:2] not in self.addresses,
            "socket.getaddrinfo": lambda given: given[0] not in ("127.0.0.1", "localhost"),
            "pickle.find_class": lambda given: given[0].partition(".")[0] in _HARMFUL and given[1] not in _HARMLESS,
            **{
                name: lambda given, n=count: any(self._is_outside(path, followed=False) for path in given[:n])
                for name, count in _PLACES.items()
            },
            **dict.fromkeys(("os.truncate", "os.chmod"), lambda given: self._is_outside(given[0])),
            "os.mkdir": lambda given: self._is_outside(given[0]) and not Path(os.fsdecode(given[0])).is_dir(),
            **dict.fromkeys(_FORBIDDEN, lambda given: True),
        }

    def _is_outside(self, path: Any, followed: bool = True) -> bool:
        """Whether a path lies outside; a link is renamed and removed itself, but opened it leads elsewhere."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a descriptor
        place = Path(os.fsdecode(path))
        where = os.path.realpath(place) if followed else f"{os.path.realpath(place.parent)}/{place.name}"
        return where != os.devnull and not any(
            where == home or where.startswith(self._beside(home)) for home in self.homes
        )

    def _beside(self, home: str) -> tuple[str, str]:
        """What is in it, and what is written aside to take its name."""
        return home + os.sep, str(Path(home).with_name(f".{Path(home).name}."))


def watch(report: int, writable: list[str], ports: list[int]) -> None:
    """Forbid every event that no command has a reason for, and write it as a line of JSON to a descriptor.

    Parameters
    ----------
    report : the descriptor.
    writable : files, and folders in which files, may be written; nothing else may be.
    ports : of this machine, to which it may connect.
    """
    rules = _Rules(writable, ports).rules

    def hook(event: str, given: tuple[Any, ...]) -> None:
        rule = rules.get(event)
        if rule is None:
            return
        try:
            found = rule(given)
        except (ValueError, OSError):  # a NUL in a path: the call itself will say so
            found = False
        if found:
            os.write(report, (json.dumps([event, *(str(part)[:300] for part in given)]) + "\n").encode())
            raise PermissionError(errno.EACCES, "the test forbids it", str(given[0])[:300])

    sys.addaudithook(hook)
