"""What every command keeps with every file: code and message, nothing read or written outside, nothing run."""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from tests.conftest import PROOF, ROOT
from tests.hostile.odd import MARK
from tests.hostile.sound import TOKEN

SECONDS = 10.0  # beyond the honest work
MEMORY = 2 << 30  # bytes beyond what the imported modules map
_HASHED = 1 << 22  # bytes; of larger files, size and time must do
_LONGEST = 50_000  # characters of a message, which then hide it
_TURNS = frozenset({"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"})  # of the writing direction
_READABLE = frozenset("\n\t")


@dataclass(frozen=True)
class Command:
    """A command line over a case.

    Parameters
    ----------
    argv : program and arguments; ``{given}``, ``{work}``, ``{sound}`` and ``{home}`` stand for folders.
    writes : paths below the arena that may differ afterwards. The working folder is ``work``.
    removes : a file below ``given`` that is not there when it starts.
    """

    argv: tuple[str, ...]
    writes: tuple[str, ...] = ()
    removes: str = ""


@dataclass
class Told:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int
    late: bool
    left: bool
    events: list[list[str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that it said."""
        return self.out + self.err


class Server:
    """A process that forks commands; see ``forks.py``."""

    def __init__(self, home: Path, python: str | Path) -> None:
        self.home = home
        scratch = home / "server"
        scratch.mkdir(parents=True)
        environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1", "HOME": str(scratch)}
        self.process = subprocess.Popen(
            [python, "-m", "tests.hostile.forks"],
            cwd=ROOT,
            env={**os.environ, **environment, "MPLCONFIGDIR": str(scratch), "NO_PROXY": "127.0.0.1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, command: Command, arena: Path, sound: Path, seconds: float = SECONDS, **special: Any) -> Told:
        """Run a command over what lies in an arena; ``special`` has ``ports`` and ``archive``."""
        folders = {"given": arena / "given", "work": arena / "work", "sound": sound, "home": arena}
        argv = [part.format(**folders) for part in command.argv]
        streams = {name: str(self.home / name) for name in ("stdout", "stderr", "report")}
        environment = {"HOME": str(arena / "home"), "TMPDIR": str(arena / "tmp"), "XDG_CACHE_HOME": ""}
        order = {"argv": argv, "cwd": str(arena / "work"), "environment": environment, "seconds": seconds}
        order |= {
            "memory": MEMORY,
            "ports": special.get("ports", []),
            "archive": special.get("archive"),
            "quick": not PROOF,
        }
        order["writable"] = [str(arena / path) for path in (*command.writes, "work", "tmp")]
        self.process.stdin.write(json.dumps(order | streams) + "\n")
        self.process.stdin.flush()
        ended = json.loads(self.process.stdout.readline())
        out, err, report = (Path(path).read_text("utf-8", "backslashreplace") for path in streams.values())
        err = err.partition("nanobind: ")[0]  # what a library tells of the frozen memory at the end
        return Told(out=out, err=err, events=list(map(json.loads, report.splitlines())), **ended)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def make_arena(arena: Path) -> None:
    """An empty home, a folder for temporary files and a working folder."""
    for name in ("home", "tmp", "work"):
        (arena / name).mkdir(parents=True)


def listed(folder: Path) -> dict[str, tuple]:
    """Kind, size, time and digest of everything below a folder; links are not followed."""
    return {str(path.relative_to(folder)): _entry(path) for path in sorted(folder.rglob("*"))}


def _entry(path: Path) -> tuple:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return ("link", str(path.readlink()))
    if not stat.S_ISREG(found.st_mode):
        return (stat.S_IFMT(found.st_mode),)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if found.st_size <= _HASHED else ""
    return ("file", found.st_size, found.st_mtime_ns, digest)


def faults(told: Told, command: Command, arena: Path, before: dict[str, tuple], verbatim: str) -> Iterator[str]:
    """What a command did that none may do, whatever it was given."""
    yield from _ending(told)
    if told.code in (1, 2) and "Error: " not in told.err and "diff" not in command.argv:  # which tells on stdout
        yield "no message"
    yield from _speech(told, verbatim)
    if len(told.text) > _LONGEST and "--json" not in command.argv:
        yield f"long: {len(told.text)} characters"
    yield from (f"event: {' '.join(event)[:300]}" for event in told.events)
    after = listed(arena)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    if not told.late:  # when we killed it, it could not tidy up
        yield from (f"changed: {name[:200]}" for name in changed if not _may_change(name, command))
    for name in changed:
        path = arena / name
        if path.is_file() and not path.is_symlink():
            yield from (f"{name[:80]}: {fault}" for fault in _content(path))


def _may_change(name: str, command: Command) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in command.writes)


def _ending(told: Told) -> Iterator[str]:
    if told.late:
        yield f"hang: killed after {told.seconds:.0f} s"
    elif told.code not in (0, 1, 2):
        yield f"exit code {told.code}"
    if told.left:
        yield "left a process behind"


def _speech(told: Told, verbatim: str) -> Iterator[str]:
    for word in ("Traceback", "Exception ignored", "Segmentation", "core dumped"):
        if word in told.text:
            yield f"{word}: {told.err.strip().splitlines()[-1][:300]}"
    odd = {character for character in told.text if _controls(character)} - _READABLE
    if odd:
        yield f"control characters: {''.join(sorted(odd))!a}"
    if os.strerror(errno.EFBIG) in told.text:
        yield "writes without end"
    if TOKEN.decode() in told.text:
        yield "secret: printed"
    if "\nforged" in told.text:
        yield "forged line"
    text = re.sub(r"got '[^']*\.{3}[^']*'", "", told.text)  # a message may shorten what it quotes
    if verbatim and text.count(MARK) > re.sub(r"\s*\n\s*", "", text).count(verbatim):
        yield f"markup: {MARK} without {verbatim}"


def _controls(character: str) -> bool:
    """Whether a terminal would obey it; what is merely invisible belongs to names of some languages."""
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(character) in _TURNS


def _content(path: Path) -> Iterator[str]:
    data = path.read_bytes() if path.stat().st_size < 1 << 26 else b""
    if TOKEN in data or TOKEN in _pixels(path):
        yield "secret: written"
    if path.suffix == ".csv" and any(_runs(cell) for cell in _cells(data)):
        yield "formula: a cell that a spreadsheet would run"
    if path.suffix in (".html", ".md") and (b"<script" in data or b"<img src=x" in data):
        yield "script: not escaped"


def _pixels(path: Path) -> bytes:
    """What is hidden behind compression."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                return np.asarray(image).tobytes()
        if path.suffix == ".h5":
            found: list[bytes] = []
            with h5py.File(path, "r", locking=False) as file:
                file.visititems(lambda name, item: _collect(item, found))
            return b"".join(found)
    except (OSError, ValueError, RuntimeError):
        pass
    return b""


def _collect(item: h5py.HLObject, found: list[bytes]) -> None:
    if isinstance(item, h5py.Dataset) and item.dtype.kind in "uiS" and item.size < 1 << 22:
        found.append(item[()].tobytes())


def _cells(data: bytes) -> Iterator[str]:
    try:
        for row in csv.reader(data.decode("utf-8", "replace").splitlines()):
            yield from row
    except csv.Error:
        return


def _runs(cell: str) -> bool:
    return cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not re.fullmatch(
        r"[-+]?[\d.]+(e[-+]?\d+)?|-?(inf|nan)", cell
    )


def fresh(folder: Path) -> None:
    """Remove a folder, and what is in it, without following links."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
