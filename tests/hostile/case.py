"""What a generator yields: a file or folder that somebody crafted, and what the commands shall say of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REFUSED, HARMLESS, SOUND = "refused", "harmless", "sound"


@dataclass(frozen=True)
class Place:
    """Where a case is made: a copy of something sound, and things outside of it that nobody may touch or read."""

    given: Path  # the store, run, model or archive
    outside: Path  # holds secret.bin, secret.h5, shard.h5, ...
    sound: Path  # the folder of sound things; read-only


@dataclass(frozen=True)
class Case:
    """One crafted input.

    Parameters
    ----------
    name : unique within its kind.
    make : turns the sound copy into the crafted one.
    expect : ``refused`` by all ``readers``, ``harmless`` (either way), or ``sound``: to be accepted.
    readers : the commands that read what was crafted.
    base : the sound thing that is copied first.
    verbatim : a text that may be printed as it is, but neither interpreted nor in part.
    answer : what a server answers to every request, for cases of servers.
    """

    name: str
    make: Callable[[Place], None]
    expect: str = HARMLESS
    readers: frozenset[str] = frozenset()
    base: str = "raw"
    verbatim: str = ""
    answer: bytes | None = None


Generator = Callable[[], Iterator[Case]]
