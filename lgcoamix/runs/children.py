"""Commands of this program in processes of their own, which end with this one, however it ends."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from preprocess import interrupt


def start(
    command: Sequence[str], output: int | None = None, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen:
    """Start a command in a process group of its own: Ctrl-C reaches it once, through this process.

    Its standard input is a pipe that closes with this process, at which it stops as at SIGTERM.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={**environment, interrupt.CHILD: "1"},
        process_group=0,
    )


def exit_code(process: subprocess.Popen) -> int:
    """Close the pipe to a process that has ended, and return its exit code as a shell reports it."""
    process.stdin.close()
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def kill(process: subprocess.Popen) -> None:
    """Kill a process and all that it has started in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
