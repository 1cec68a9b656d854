"""What the commands share: error messages and tables."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator

import click

from lgcoamix.errors import FolderTakenError, Interrupted, RunError, SettingsError
from preprocess import interrupt
from preprocess.terminal import say

CONTEXT = {"help_option_names": ["-h", "--help"]}


def friendly(command: Callable) -> Callable:
    """Report errors that a user can fix as one message. Exit codes: 2 for usage, 1 for failure, 128 + signal."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        from preprocess.errors import OutputError, PreprocessError
        from preprocess.files import describe

        try:
            with _memory_failures():
                return command(*args, **kwargs)
        except (SettingsError, OutputError) as error:
            raise click.UsageError(str(error)) from None
        except FolderTakenError as error:
            if interrupt.CHILD in os.environ:
                sys.exit(error.CODE)
            raise click.ClickException(str(error)) from None
        except (RunError, PreprocessError) as error:
            raise click.ClickException(_message(error)) from None
        except (OSError, MemoryError) as error:
            raise click.ClickException(describe(error)) from None
        except Interrupted as stop:
            interrupt.explain("")  # this is the line
            if interrupt.speaks():
                say(stop, err=True)
            sys.exit(128 + stop.signal)
        except KeyboardInterrupt:  # of a caller that answers signals itself
            say(interrupt.LINE, err=True)
            sys.exit(130)

    return wrapped


@contextlib.contextmanager
def _memory_failures() -> Iterator[None]:
    """Say what to do when torch finds no memory; on a CPU, its error has no type of its own."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError) or not re.search("out of memory|can't allocate memory", str(error)):
            raise
        raise RunError(
            "there is not enough memory: use a smaller --batch-size or --image-size, or a machine with more"
        ) from None


def _message(error: Exception) -> str:
    """The error's own text: torch puts that of a DataLoader worker at the end of its traceback."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if "Original Traceback" in text else text
