"""The one door to the terminal: what is printed is data, so controls are replaced and nothing is markup."""

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from preprocess.text import CONTROLS, shown

_HELP = 48  # columns for the text beside an option
_WIDTH = 160  # columns of a table in a file or a pipe


def say(text: object = "", err: bool = False) -> None:
    """Print lines of text."""
    click.echo(shown(str(text)), err=err)


def say_json(document: object) -> None:
    """Print JSON for other programs; controls are escaped, so that it stays exact."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    click.echo(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}" if found[0] != "\n" else "\n", text))


def say_table(table: Table) -> None:
    """Print a table, 160 columns wide if the output is not a terminal."""
    Terminal(width=None if sys.stdout.isatty() else _WIDTH).print(table)


@contextlib.contextmanager
def status(text: str = "") -> Iterator[Callable[[str], None]]:
    """Show on standard error what happens; yield a function that replaces the text."""
    with Terminal(stderr=True).status(Text(shown(text))) as line:
        yield lambda other: line.update(Text(shown(other)))


@contextlib.contextmanager
def progress_bars(unit: str) -> Iterator[Callable[[str, int | None], Callable]]:
    """Show bars with a count and a speed; yield a function that adds a bar and returns its ``advance``."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=Terminal(stderr=True)) as progress:
        yield lambda name, total: functools.partial(progress.advance, progress.add_task(name, total=total))


class Terminal(Console):
    """A console that takes every string as plain data, table cells included."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string; rich does it here for all strings that it prints."""
        return super().render_str(shown(text), **options)


class Words(TextColumn):
    """Text beside a progress bar, for example ``{task.description}``."""

    def render(self, task: Task) -> Text:
        """Format the text for a task."""
        return Text(shown(self.text_format.format(task=task)))


class Rate(ProgressColumn):
    """Finished units per second beside a progress bar."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Format the speed of a task."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} {self.unit}/s" if speed else "")


class _Formatter(click.HelpFormatter):
    """Help with a narrow first column on a narrow terminal: words of the second would be broken."""

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write two columns."""
        super().write_dl(rows, max(6, min(col_max, self.width - _HELP)), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class _Clean:
    """Replaces controls in messages of errors: they hold what was typed, and names of files."""

    context_class = _Context

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _clean_messages():
            return super().make_context(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        with _clean_messages():
            return super().invoke(context)


class Command(_Clean, click.Command):
    """A command that stands alone."""


class Group(_Clean, click.Group):
    """A group of commands."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Take in a command, whose help is laid out like the group's."""
        cmd.context_class = _Context
        super().add_command(cmd, name)


@contextlib.contextmanager
def _clean_messages() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = shown(error.message)
        raise
