"""Ctrl-C and SIGTERM: noted when they come, obeyed between two steps."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Stop:
    """Whether this process was told to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """Remember the first signal; Ctrl-C after it ends at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number
        # A worker that got the signal too must not interrupt a step: torch's handler raises wherever we are.
        # The loader notices by itself, between two steps.
        signal.signal(signal.SIGCHLD, lambda *_: None)


@contextmanager
def listening(alone: bool) -> Iterator[Stop]:
    """Note signals instead of dying of them.

    Parameters
    ----------
    alone : a single process; under torchrun, which repeats Ctrl-C to every rank, a second one is not the user's.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if alone or stop.signal is None:
            stop.note(number, frame)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def command_to_continue(out: Path) -> str:
    """The command line of this process, with ``--resume auto`` and its run folder.

    A launcher of several machines is left out: its options differ from machine to machine.
    """
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    world, here = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", here] if world == here != "1" else []
    program = ["-m", "lgcoamix"] if Path(sys.argv[0]).name == "__main__.py" else [sys.argv[0]]
    given = sys.argv[1:]
    if "--resume" in given:
        place = given.index("--resume")
        given = given[:place] + given[place + 2 :]
    given = [text for text in given if not text.startswith("--resume=")]
    if not any(text.partition("=")[0] == "--out" for text in given):
        given += ["--out", str(out)]
    return shlex.join([python, *launcher, *program, *given, "--resume", "auto"])
