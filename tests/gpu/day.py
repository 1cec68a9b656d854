"""Parts that share a budget of time: each in a process of its own, so that none can take the others with it.

A part is a list of items, which give a row each, or several. What did not fit and what failed is kept beside the rows.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Item = Callable[[], Row | Iterator[Row]]
_HOME = str(Path(__file__).resolve().parent.parent.parent)
_TRACE = 3000  # last characters of a traceback
_GRACE = 5  # seconds from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Part:
    """Something to find out.

    Parameters
    ----------
    title : of its table.
    share : of the time that is left, among the shares of the parts that are left.
    items : makes what gives each row, by name; takes the seconds that are left, as a function.
    columns : heading and format of every column, such as ``{"ms": "{milliseconds:.1f}"}``.
    note : what the table shows, below it.
    """

    title: str
    share: float
    items: Callable[[Callable[[], float]], Mapping[str, Item]]
    columns: Mapping[str, str]
    note: str = ""


@dataclass
class Outcome:
    """What a part gave.

    Parameters
    ----------
    given, took : seconds.
    left_out : items that did not fit, and why.
    failed : items, and the error of each.
    """

    title: str
    given: float
    took: float = 0.0
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def run_parts(
    parts: Mapping[str, Part], seconds: float, done: Callable[[str, Outcome], None], clock: Callable[[], float]
) -> dict[str, Outcome]:
    """Run parts one after the other within a budget; time that one leaves goes to the others.

    Parameters
    ----------
    seconds : for all parts together, from now.
    done : called after every part.
    clock : seconds that only grow.
    """
    end, outcomes, weights = clock() + seconds, {}, {name: part.share for name, part in parts.items()}
    for name, part in parts.items():
        given = max(0.0, end - clock()) * part.share / sum(weights.values())
        del weights[name]
        outcomes[name] = run_part(part, given)
        done(name, outcomes[name])
    return outcomes


def run_part(part: Part, seconds: float) -> Outcome:
    """Run a part in a process of its own, and end that when its time is over.

    The process is a fork: what is imported here need not be imported again. This process must not have used a GPU.
    """
    outcome, begin = Outcome(part.title, seconds), time.monotonic()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part, seconds, there))
    process.start()
    there.close()
    try:
        item = _listen(here, outcome, begin + seconds)
    finally:
        _end(process)
        outcome.took = time.monotonic() - begin
    if item is not None:
        code = process.exitcode
        over = time.monotonic() - begin >= seconds
        why = f"cut off after {outcome.took:.0f} s" if over else f"the process died with exit code {code}"
        if over:
            outcome.left_out[item] = why
        else:
            outcome.failed[item] = {"error": why, "trace": ""}
    return outcome


def _listen(pipe: Connection, outcome: Outcome, end: float) -> str | None:
    """Take in what a part tells; return the item that it did not finish, if any."""
    item: str | None = "its start"
    while pipe.poll(max(0.0, end - time.monotonic())):
        try:
            kind, name, value = pipe.recv()
        except EOFError:
            return item
        if kind == "end":
            return None
        if kind == "begin":
            item = name
        elif kind == "row":
            outcome.rows.append(value)
        else:
            getattr(outcome, kind)[name] = value
    return item


def _end(process: Any) -> None:
    """End a part with all processes that it has started."""
    process.join(1)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        process.join(_GRACE)
        if not process.is_alive():
            return
    process.kill()
    process.join()


def _work(part: Part, seconds: float, pipe: Connection) -> None:
    """Run the items of a part, in the process of its own; an item starts if the longest so far would still fit."""
    os.setsid()
    end = time.monotonic() + seconds
    name, longest = "its start", 0.0
    try:
        items = part.items(lambda: end - time.monotonic())
    except Exception as error:
        pipe.send(("failed", name, _told(error)))
        items = {}
    for name, item in items.items():
        begin = time.monotonic()
        if end - begin < longest:
            pipe.send(("left_out", name, f"{end - begin:.0f} s were left, and one item took {longest:.0f} s"))
            continue
        pipe.send(("begin", name, None))
        try:
            found = item()
            for row in [found] if isinstance(found, dict) else found:
                pipe.send(("row", name, row))
        except LeftOut as reason:
            pipe.send(("left_out", name, str(reason)))
        except Exception as error:
            pipe.send(("failed", name, _told(error)))
        longest = max(longest, time.monotonic() - begin)
    pipe.send(("end", name, None))


class LeftOut(Exception):  # noqa: N818 - no error
    """An item has nothing to show here; the text says why."""


def _told(error: Exception) -> dict[str, str]:
    """An error in a line, with the last place in our own source, and its traceback."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_HOME)]
    where = f" ({Path(ours[-1].filename).relative_to(_HOME)}:{ours[-1].lineno})" if ours else ""
    first = next(iter(str(error).strip().splitlines()), "")
    text = "".join(traceback.format_exception(error))
    return {"error": f"{type(error).__name__}: {first}{where}", "trace": text[-_TRACE:]}


def markdown(parts: Mapping[str, Part], outcomes: Mapping[str, Outcome]) -> str:
    """The tables of all parts."""
    return "\n".join(_section(parts[name], outcome) for name, outcome in outcomes.items())


def _section(part: Part, outcome: Outcome) -> str:
    lines = [f"**{part.title}**", ""]
    if outcome.rows:
        lines += [_line(part.columns), _line("---" for _ in part.columns)]
        lines += [_line(_cell(form, row) for form in part.columns.values()) for row in outcome.rows]
        lines.append("")
    lines += [part.note, ""] if part.note and outcome.rows else []
    for title, told in (
        ("Left out", outcome.left_out),
        ("Failed", {name: found["error"] for name, found in outcome.failed.items()}),
    ):
        lines += [f"{title}: {'; '.join(f'{name} ({why})' for name, why in told.items())}.", ""] if told else []
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(form: str, row: Row) -> str:
    try:
        return form.format(**row)
    except KeyError:  # this row has no such value
        return ""
