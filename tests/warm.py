"""Python that has imported torch and its like already: a server, once asked, imports packages of others, and forks.

A client stands where ``python`` would. What it is asked to run, a fork of the server runs, with the client's arguments,
folder, environment and standard files, and with nothing of ours in memory. Signals and exit codes pass through. What a
fork cannot be (options of Python, files passed on, no torch in it) the client leaves to the real Python.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from functools import cache
from pathlib import Path
from typing import NoReturn

MODULES = (
    *("torch.distributed.run", "timm", "tensorboard.summary.writer.event_file_writer", "matplotlib.figure"),
    *("matplotlib.backends.backend_agg", "h5py", "cv2", "rich.progress", "pytest", "lightning.pytorch"),
)
CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
words = sys.argv[1:]
unbuffered = words[:1] == ["-u"]
words = words[unbuffered:]
known = words and (words[0] in ("-c", "-m") or words[0][0] != "-") and words[:2] != ["-m", "preprocess"]
if not known or max(map(int, os.listdir("/proc/self/fd"))) > 3:  # 3 lists them
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect("\\0" + {address!r})
order = dict(words=words, unbuffered=unbuffered, python=os.path.abspath(sys.argv[0]), folder=os.getcwd())
socket.send_fds(server, [json.dumps(order | dict(environment=dict(os.environ))).encode()], [0, 1, 2])
for number in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, _: server.send(bytes([number])))
code = int(server.recv(9))
if code < 0:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Server:
    """A process of its own, which ends with ours."""

    def __init__(self) -> None:
        self.address = f"warm-{os.getpid()}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.address],
            env={**kept, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self.process.communicate()


class Warm:
    """Programs that stand for Python; ``python`` is one for this environment."""

    def __init__(self, address: str, home: Path) -> None:
        self.address, self.python = address, home / "python"
        self.write_client(self.python, Path(sys.executable))

    def write_client(self, path: Path, python: Path) -> None:
        """Write a program that stands for ``python``."""
        path.write_text(CLIENT.format(python=str(python), address=self.address))
        path.chmod(0o755)


def main(address: str) -> None:
    """Serve until standard input ends."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind("\0" + address)
    door.listen()
    os.write(1, b"ready\n")
    while door in select.select([door, sys.stdin], [], [])[0]:
        _import_all()
        client = door.accept()[0]
        if os.fork() == 0:
            door.close()
            order, files, *_ = socket.recv_fds(client, 1 << 18, 3)
            if pid := os.fork():
                _watch(pid, client, files)
            client.close()
            _become(files, **json.loads(order))
        client.close()
        _reap()
    _reap()
    os._exit(0)


@cache
def _import_all() -> None:
    sys.modules["wandb"] = None  # timm would import it, with a folder that the first process to end removes
    for name in MODULES:
        importlib.import_module(name)
    del sys.modules["wandb"], sys.path[0]
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads would not survive the fork"
    gc.freeze()  # or every process would copy all memory when it collects


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _watch(pid: int, client: socket.socket, files: list[int]) -> None:
    """Pass signals on and the exit code back; a process whose client is gone is killed, with those it has started."""
    for file in (0, 1, *files):
        os.close(file)
    end = os.pidfd_open(pid)
    while end not in select.select([client, end], [], [])[0]:
        if number := client.recv(1):
            os.kill(pid, number[0])
        else:
            os.killpg(pid, signal.SIGKILL)
            select.select([end], [], [])
    try:
        client.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    finally:
        os._exit(0)


def _become(
    files: list[int], words: list[str], unbuffered: bool, python: str, folder: str, environment: dict[str, str]
) -> NoReturn:
    """Be the process that the client stands for; leave out the end of the interpreter, half a second with torch."""
    os.setsid()
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    sys.stdout.reconfigure(line_buffering=unbuffered)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = python
    code: object = 0
    try:
        _run(*words)
    except SystemExit as stop:
        code = stop.code or 0
    except Exception:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code & 0xFF)


def _run(first: str, *rest: str) -> None:
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(":"))
    with contextlib.suppress(ImportError):
        importlib.import_module("sitecustomize")  # such a file may hide what the server has imported
    space = sys.modules["__main__"] = types.ModuleType("__main__")
    if first == "-c":
        sys.argv, sys.path[:0] = ["-c", *rest[1:]], [""]
        exec(rest[0], vars(space))
    elif first == "-m":
        sys.argv, sys.path[:0] = [*rest], [str(Path.cwd())]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[:0] = [first, *rest], [str(Path(first).resolve().parent)]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
