"""How a run reports its progress, whatever displays it."""

from collections.abc import Callable
from dataclasses import dataclass

Start = Callable[[str, int], Callable[[int], None]]  # description, images -> what counts finished images


@dataclass(frozen=True)
class Report:
    """Callbacks for the progress of a run.

    Parameters
    ----------
    start : called with a description and a number of images when a pass over the data begins; returns a function that
        counts finished images.
    show : called with a status line of the current pass; it replaces the previous one.
    say : called with a line of text to print.
    """

    start: Start
    show: Callable[[str], None]
    say: Callable[[str], None]


def silent() -> Report:
    """A report that shows nothing: for all ranks but the first."""
    return Report(lambda _, __: lambda _: None, lambda _: None, lambda _: None)
