"""Ctrl-C and SIGTERM: recorded when they arrive, handled between two steps."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from preprocess import interrupt
from preprocess.text import shown


class Stop:
    """Whether this process was told to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """Remember the first signal; a later Ctrl-C ends the process at once."""
        if self.signal is not None and number == signal.SIGINT:
            interrupt.leave(number)
        self.signal = self.signal or number
        # A DataLoader worker that also received the signal must not interrupt a step: torch's handler raises anywhere.
        # The loader itself notices between two steps.
        signal.signal(signal.SIGCHLD, lambda *_: None)


@contextmanager
def listening(alone: bool) -> Iterator[Stop]:
    """Record signals instead of dying from them.

    Parameters
    ----------
    alone : whether this is the only process. torchrun repeats Ctrl-C to every rank: a second one says nothing.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if alone or stop.signal is None:
            stop.note(number, frame)

    with interrupt.answering(note):
        yield stop


def promise(out: Path) -> None:
    """Say how to continue a run that a signal ends at once."""
    interrupt.explain(shown(f"interrupted; to continue from the last checkpoint: {command_to_continue(out)}"))


def command_to_continue(out: Path) -> str:
    """The command line of this process, with ``--resume auto`` and its run folder.

    The launcher is left out for several machines: its options differ between them.
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
