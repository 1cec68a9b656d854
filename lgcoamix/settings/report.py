"""How a run tells where it is, whoever listens."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """How a run tells where it is.

    Parameters
    ----------
    start : called with a description and a number of images when a pass over data begins; returns the function that
        counts finished images.
    show : called with a line about the pass in hand, which replaces the one before.
    say : called with a line of text that stays.
    """

    start: Callable[[str, int], Callable[[int], None]]
    show: Callable[[str], None]
    say: Callable[[str], None]


def silent() -> Report:
    """What all ranks but the first report to."""
    return Report(lambda _, __: lambda _: None, lambda _: None, lambda _: None)
