"""What the commands share: error messages and exit codes."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lgcoamix.errors import FolderTakenError, Interrupted, RunError, SettingsError
from preprocess import interrupt
from preprocess.terminal import say, tell

if TYPE_CHECKING:
    from preprocess.outputs import Kind

_SMALLER = "there is not enough memory; use smaller batches or images, or fewer workers"
_COMPILING = ("torch._dynamo", "torch._inductor")  # modules of what torch.compile raises
_OF_COMPILER = "CppCompileError|InvalidCxxCompiler|[Ff]ailed to find C compiler"
CONTEXT = {"help_option_names": ["-h", "--help"]}


def friendly(command: Callable) -> Callable:
    """Report errors that a user can fix as one message. Exit codes: 2 for usage, 1 for failure, 128 + signal."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        from preprocess.errors import OutputError, PreprocessError
        from preprocess.files import describe

        try:
            with _compile_failures(), _lack_of_memory():
                return command(*args, **kwargs)
        except (SettingsError, OutputError) as error:
            raise click.UsageError(str(error)) from None
        except FolderTakenError as error:
            if interrupt.CHILD in os.environ:
                sys.exit(error.CODE)
            raise click.ClickException(str(error)) from None
        except (RunError, PreprocessError) as error:
            raise click.ClickException(_message(error)) from None
        except OSError as error:
            raise click.ClickException(describe(error)) from None
        except Interrupted as stop:
            interrupt.explain("")  # this is the line
            if interrupt.speaks():
                tell(stop)
            sys.exit(128 + stop.signal)
        except KeyboardInterrupt:  # of a caller that answers signals itself
            tell(interrupt.LINE)
            sys.exit(130)

    return wrapped


def say_written(out: Path, kind: "Kind") -> None:
    """Say which files of a kind a folder has now."""
    is_ours = kind.telling(out)
    say(f"wrote {out}: {', '.join(sorted(path.name for path in out.iterdir() if is_ours(path.name)))}")


@contextmanager
def _lack_of_memory() -> Iterator[None]:
    """Say what to do about it: numpy has a type for it, torch has none that holds on all devices."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = re.search("out of memory|can't allocate memory", str(error)) and not isinstance(error, RunError)
        if not (told or isinstance(error, MemoryError)):
            raise
        raise RunError(f"{_SMALLER} ({_message(error)[:300]})") from None


@contextmanager
def _compile_failures() -> Iterator[None]:
    """Say what ``--compile`` lacks: it compiles in the first steps, and its errors have no common public type."""
    try:
        yield
    except Exception as error:
        if not any(kind.__module__.startswith(_COMPILING) for kind in type(error).__mro__):
            raise
        text = str(error)
        found = re.search(r"\berror: .*", text) or re.search(r"\S.*", text)
        needs = "it needs a C++ compiler with OpenMP (g++, or the one in CXX) and Python's headers: install them, or "
        remedy = (
            f"{needs if re.search(_OF_COMPILER, f'{type(error).__name__}: {text}') else ''}repeat with --no-compile"
        )
        raise RunError(f"--compile: {found[0][:300] if found else type(error).__name__}; {remedy}") from None


def _message(error: Exception) -> str:
    """The error's own text: torch puts that of a DataLoader worker at the end of its traceback."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if "Original Traceback" in text else text
