"""Ctrl-C and SIGTERM, from the first line of a command to its last. Entry points import this before all else.

The signal may arrive anywhere: inside an import, a lock, a ``finally``. An exception does harm there, so none is
raised: the process removes what is half written, says one line, and ends. Work with more to save answers for itself.

Everything imported here is in memory already: until this module runs, a signal shows a traceback.
"""

import _signal as signal  # the module "signal" defines enumerations first
import _thread
import atexit
import os
import sys
import time

LINE = "interrupted; finished work is kept: run the same command to continue"
CHILD = "LGCOAMIX_CHILD"  # set for a command that another one of ours has started: it speaks for both
_SHOW_CURSOR = "\x1b[?25h\n"  # a progress bar hides it

_process = None  # the one that runs a command; children that it forks are others
_main = None  # the thread that runs it, and answers signals
_line = LINE
_said = _leaving = False
_undo = []


def run(command: object, extra: str = "train") -> None:
    """Call ``command()``: from here until the process is gone, a signal ends it with one line and 128 + its number.

    A package that is missing or broken ends it with one line and 1. Of several extras with it, ``extra`` is named.
    """
    global _process, _main
    _process, _main, code = os.getpid(), _thread.get_ident(), 1  # that of a traceback
    # Registered first, called last: the exit handlers of libraries are done then, and no signal interrupts them.
    atexit.register(lambda: _finish(code))
    _install(_answer)
    if CHILD in os.environ:
        _end_with_parent()
    try:
        command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except Exception as error:
        from preprocess.extras import explain as explain_missing

        line = explain_missing(error, extra)
        if not line:
            raise
        _write(f"Error: {line}")


class answering:  # noqa: N801 - a context
    """Answer signals with ``handler(number, frame)`` within a block. One that is ignored, as under nohup, stays so."""

    def __init__(self, handler: object) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._before = _install(self._handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class undoing:  # noqa: N801 - a context
    """Call ``undo()`` if a signal ends the process within a block: in the main thread, at any place."""

    def __init__(self, undo: object) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        while _leaving and _thread.get_ident() != _main:  # another thread would begin what nobody undoes
            time.sleep(1)
        _undo.append(self._undo)

    def __exit__(self, *_: object) -> None:
        _undo.remove(self._undo)


def explain(line: str) -> None:
    """Set what a signal ends this command with: what is kept, and how to continue."""
    global _line
    _line = line


def speaks() -> bool:
    """Whether this process says what a signal did: of the ranks of a run, the first; not a child of a command."""
    return CHILD not in os.environ and os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Write a line about a signal to standard error: the first one only, unless it is empty."""
    global _said
    if line and not _said and speaks():
        _said = True
        _write((_SHOW_CURSOR if os.isatty(2) else "") + line)


def leave(number: int) -> None:
    """End the process at once. Outside of a command, raise KeyboardInterrupt instead."""
    global _leaving
    if _process is None:
        raise KeyboardInterrupt
    try:
        if os.getpid() == _process:
            if not _leaving:  # a second signal does not wait for this
                _leaving = True
                _clean_up()
            say(_line)
    finally:
        os._exit(128 + number)


def _answer(number: int, _: object) -> None:
    leave(number)


def _end_with_parent() -> None:
    """Take the end of standard input, a pipe from the parent, as SIGTERM: it comes even if the parent is killed."""
    import threading

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _install(handler: object) -> dict[int, object]:
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _clean_up() -> None:
    # Twice: a thread may have been between what it said it would make, and making it.
    for step in (_end_children, *_undo[::-1], *_undo[::-1], lambda: sys.stdout.flush()):
        try:
            step()
        except Exception:  # a module half imported, a file in the middle of a write
            continue


def _end_children() -> None:
    for child in sys.modules["multiprocessing"].active_children():
        os.kill(child.pid, signal.SIGKILL)


def _finish(code: int) -> None:
    """Flush, and end before the interpreter takes itself apart, where a signal would show a traceback."""
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or 1
        if not isinstance(error, BrokenPipeError):  # whose reader has seen enough
            _write(f"Error: standard output: {error.strerror}")
    except (AttributeError, ValueError):  # there is none, or it is closed
        pass
    os._exit(code)


def _write(line: str) -> None:
    try:
        os.write(2, f"{line}\n".encode(errors="replace"))
    except OSError:  # there is no standard error
        return
