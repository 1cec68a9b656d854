"""One command in a process that may do little: ``confined.py REPORT FOLDER SCRATCH PROGRAM WORDS``.

What the command must not do goes to REPORT, a line each: files written outside of FOLDER and SCRATCH, processes,
network. It has ``MEMORY`` bytes more than it starts with, and ends when it starts a crowd of processes.
"""

import _posixsubprocess
import atexit
import os
import resource
import runpy
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path

MEMORY = 5 << 30
CROWD = 40  # processes
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.startfile"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}
_ANY_PORT = (("::1", 0),)  # urllib3 tries it when imported
_HARMLESS = ("/dev/null/", "/dev/shm/", "/proc/self/")
_COMPILED = f"{Path(__file__).resolve().parents[2]}/preprocess/superpixels/__pycache__"  # by numba, at first use


class Watch:
    """Tells the report what this process does that it must not."""

    def __init__(self, report: Path, folders: tuple[str, ...]) -> None:
        self.descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.allowed = (*(f"{folder}/" for folder in folders), *_HARMLESS)
        self.started = 0

    def __call__(self, event: str, given: tuple) -> None:
        if event == "open":
            self.changed(given[:1] if isinstance(given[2], int) and given[2] & _WRITES else ())
        elif event in _CHANGES and not (event == "os.mkdir" and Path(given[0]).is_dir()):
            self.changed(given[:2])
        elif event in _STARTS and given[:1] != ("git",):  # a run notes its commit
            self.start((event, *given[:2]))
        elif event in _NETWORK and getattr(given[0], "family", None) != socket.AF_UNIX and given[1:] != _ANY_PORT:
            self.tell("network", (event, *given))

    def changed(self, paths: tuple) -> None:
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links stay
                if not f"{whole}/".startswith(self.allowed) and not whole.startswith(_COMPILED):
                    self.tell("written", whole)

    def start(self, what: object) -> None:
        self.tell("process", what)
        self.started += 1
        if self.started > CROWD:
            self.tell("crowd", self.started)
            os._exit(99)

    def tell(self, kind: str, what: object) -> None:
        os.write(self.descriptor, f"{kind}: {what!r}\n".encode(errors="backslashreplace"))


def confine(report: Path, folders: tuple[str, ...]) -> None:
    """Watch this process from now on, and limit its memory."""
    watch, fork_exec = Watch(report, folders), _posixsubprocess.fork_exec

    def counted(*given: object) -> int:
        if b"resource_tracker" not in b"".join(map(os.fsencode, given[0])):  # Python's own
            watch.start(("fork_exec", given[0]))
        return fork_exec(*given)

    _posixsubprocess.fork_exec = counted  # loky's way past the hook
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    for limit, value in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 1 << 30)):
        resource.setrlimit(limit, (value, value))
    sys.addaudithook(watch)


def run(program: str, words: list[str]) -> None:
    """Run a command as ``python -m PROGRAM`` or ``python PROGRAM`` does."""
    sys.argv = [program, *words]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def leave(code: object) -> None:
    """End as an interpreter does, but for the modules: to take torch apart costs a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else bool(code))


def main() -> None:
    """Confine this process, and run the command in it."""
    _, report, folder, scratch, program, *words = sys.argv
    tempfile.tempdir = None  # the parent's
    sys.dont_write_bytecode = True
    confine(Path(report), (folder, scratch))
    try:
        run(program, words)
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


main()
