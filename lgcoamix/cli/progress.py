"""Progress bars on standard error, for training and for passes over images."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn

from preprocess.terminal import Bars, TimeLeft, Words

if TYPE_CHECKING:
    from lgcoamix.settings.report import Report, Start


@contextmanager
def training_report() -> "Iterator[Report]":
    """Show a progress bar for the current pass, and messages above it."""
    from lgcoamix.settings.report import Report

    columns = (
        Words("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Words("{task.fields[line]}"),
    )
    with Bars(*columns, transient=True) as progress:
        task = progress.add_task("", total=None, line="")

        def start(description: str, total: int) -> Callable[[int], None]:
            progress.reset(task, description=description, total=total, line="")
            return functools.partial(progress.advance, task)

        def show(line: str) -> None:
            progress.update(task, line=line)

        yield Report(start, show, lambda line: progress.console.print(line, soft_wrap=True))


@contextmanager
def passes() -> "Iterator[Start]":
    """Yield a function that starts a progress bar and returns another one, which counts finished images."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Bars(*columns, transient=True) as bars:
        yield bars.bar
