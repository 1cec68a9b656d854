"""What the commands share."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from preprocess.datasets import DATASETS, Listing
from preprocess.errors import PreprocessError, Terminated, ThreadsInterrupted

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def friendly(command: Callable) -> Callable:
    """Turn the failures that a user can mend into one message and exit code 1; Ctrl-C into 130, SIGTERM into 143."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return command(*args, **kwargs)
        except PreprocessError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None
        except KeyboardInterrupt as interrupt:
            click.echo("\ninterrupted; what is finished is kept: run the same command to continue", err=True)
            code = 143 if isinstance(interrupt.__cause__ or interrupt, Terminated) else 130
            if isinstance(interrupt, ThreadsInterrupted):
                sys.stdout.flush()
                os._exit(code)  # not by way of Python's and HDF5's own ends, which running threads could meet
            sys.exit(code)
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapped


def _terminate(number: int, frame: object) -> None:
    raise Terminated


class _Rate(ProgressColumn):
    """Finished units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} {self.unit}/s" if speed else "")


def progress_bar(unit: str) -> Progress:
    """A bar that counts what is finished, with its speed."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def find_listing(dataset: str, root: Path | None, download: bool, partial: bool) -> Listing:
    """List a data set for a command; fetch it if need be and compare its counts with the official ones."""
    from preprocess.raw.find import RAW, find_raw_data
    from preprocess.raw.selection import check_counts, check_keys

    adapter = DATASETS[dataset]
    if root is not None and not root.is_dir() and adapter.create is None:
        raise click.BadParameter(f"there is no folder {root}", param_hint="--root")
    listing = find_raw_data(dataset, root or RAW / dataset, download)
    check_keys(listing)
    if not partial:
        check_counts(dataset, adapter, listing)
    return listing
