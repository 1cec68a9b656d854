"""The one door to the terminal: what is printed is data, so controls are replaced and nothing is markup."""

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from preprocess.text import CONTROLS, shown

LOG_SECONDS = 60.0  # between two lines about long work, where standard error is no terminal
_HELP = 48  # columns for the text beside an option
_WIDTH = 160  # columns of a table in a file or a pipe


def say(text: object = "") -> None:
    """Print lines of text: the result of a command."""
    click.echo(shown(str(text)))


def tell(text: object) -> None:
    """Print lines of text on standard error: what is no result of the command."""
    click.echo(shown(str(text)), err=True)


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
    log = Log()
    with Terminal(stderr=True).status(Text(shown(text))) as line:

        def replace(other: str) -> None:
            line.update(Text(shown(other)))
            log.say(lambda: other)

        yield replace


class Log:
    """Lines about long work for a log file: at most one a minute, and only where standard error is no terminal.

    A line is printed when work reports, and never by a thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = not Terminal(stderr=True).is_terminal
        self._clock, self._last = clock, clock()

    def say(self, line: Callable[[], str]) -> None:
        """Print a line if it is time."""
        if self._wanted and self._clock() - self._last >= LOG_SECONDS:
            self._last = self._clock()
            tell(line())


@contextlib.contextmanager
def progress_bars(unit: str) -> Iterator[Callable[[str, int | None], "Bar"]]:
    """Show bars with a count and a speed; yield a function that adds a bar."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(unit), TimeLeft())
    with Bars(*columns, unit=unit) as bars:
        yield bars.bar


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
        speed = _speed(task)
        return Text(f"{_amount(speed)} {self.unit}/s" if speed else "")


class TimeLeft(ProgressColumn):
    """Time left beside a progress bar, if the work goes on as it went from its beginning."""

    def render(self, task: Task) -> Text:
        """Format the time for a task."""
        return Text(_time_left(task))


class Bars(Progress):
    """Progress bars on standard error; where that is no terminal, a line a minute, and one at the end of long work.

    Parameters
    ----------
    columns : of a bar.
    unit : what is counted; ``bytes`` are shown as kB and so on.
    options : of rich's ``Progress``.
    """

    def __init__(self, *columns: ProgressColumn, unit: str = "images", **options: Any) -> None:
        console = options.pop("console", None) or Terminal(stderr=True)
        super().__init__(*columns, console=console, disable=not console.is_terminal, **options)
        self._unit, self._minute, self._logged = unit, Log(self.get_time), {}

    def bar(self, name: str, total: float | None) -> "Bar":
        """Add a bar."""
        return Bar(self, self.add_task(name, total=total, line=""))

    def advance(self, task_id: Any, advance: float = 1) -> None:
        """Count finished units."""
        super().advance(task_id, advance)
        with self._lock:
            self._minute.say(functools.partial(self._line, self._tasks[task_id]))

    def stop(self) -> None:
        """Take the bars away, or print how long work ended."""
        super().stop()
        if self.disable:
            for task in self.tasks:
                if task.completed and _seconds(task) >= LOG_SECONDS and self._logged.get(task.id) != task.completed:
                    tell(self._line(task))

    def _line(self, task: Task) -> str:
        """For example ``cub -> data/cub.h5: 4,096 of 11,788 images, 103 images/s, 0:01:15 left``."""
        self._logged[task.id] = task.completed
        done, speed = task.completed, _speed(task) or 0
        amount, unit = (decimal, "") if self._unit == "bytes" else (_amount, f" {self._unit}")
        of = "" if task.total is None else f" of {amount(int(task.total))}"
        said = [f"{task.description}: {amount(int(done))}{of}{unit}"]
        if line := task.fields.get("line"):  # has a rate and a time of its own
            return ", ".join([*said, line])
        said.append(f"{amount(int(speed) if unit == '' else speed)}{unit}/s")
        if done == task.total:
            said.append(f"{_clock_time(_seconds(task))} in all")
        elif task.total is not None:
            said.append(f"{_time_left(task)} left")
        return ", ".join(said)


class Bar:
    """A progress bar: called with a number of finished units."""

    def __init__(self, bars: Bars, task: Any) -> None:
        self._bars, self._task = bars, task

    def __call__(self, advance: float = 1) -> None:
        """Count finished units."""
        self._bars.advance(self._task, advance)

    def begin(self) -> None:
        """Measure rate and time from here on: what came before, such as the start of a cluster, is not the work."""
        self._bars.reset(self._task)

    @property
    def seconds(self) -> float:
        """Seconds of work so far."""
        return next(task.elapsed for task in self._bars.tasks if task.id == self._task)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bars.disable:
            tell(line)
        else:
            self._bars.console.print(line, soft_wrap=True)


def _speed(task: Task) -> float | None:
    """Units per second since the work began: units come in lumps, such as whole shards, so a short view misleads."""
    done, seconds = task.completed - task.fields.get("begun", 0), _seconds(task)
    return done / seconds if done > 0 and seconds else None


def _seconds(task: Task) -> float:
    return (task.elapsed if task.finished_time is None else task.finished_time) or 0.0


def _time_left(task: Task) -> str:
    speed = _speed(task)
    return _clock_time(task.remaining / speed) if speed and task.remaining is not None else "-:--:--"


def _clock_time(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0.0, seconds))))


def _amount(number: float) -> str:
    return f"{number:,.1f}" if 0 < number < 10 and number != int(number) else f"{number:,.0f}"


class _Formatter(click.HelpFormatter):
    """Help with a narrow first column on a narrow terminal: words of the second would be broken."""

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write two columns."""
        super().write_dl(rows, max(6, min(col_max, self.width - _HELP)), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class _Clean(click.Command):
    """Replaces controls in messages of errors: they hold what was typed, and names of files."""

    context_class = _Context

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _clean_messages():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _clean_messages():
            return super().invoke(ctx)


class Command(_Clean):
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
        error.message = shown(error.message)  # pyrefly: ignore[read-only] - click reads it when it prints
        raise
