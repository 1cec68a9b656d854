"""What is printed is data: no name is markup, and none commands the terminal."""

import contextlib
import json

import click
import pytest
from click.testing import CliRunner
from rich.progress import Progress
from rich.table import Table

from preprocess.terminal import (
    Bars,
    Command,
    Group,
    Rate,
    Terminal,
    TimeLeft,
    Words,
    say,
    say_json,
    say_table,
    status,
    tell,
)

NAME = "[bold]IMG_1[/bold] :smile: \x1b[31m\x9b2J"
SEEN = "[bold]IMG_1[/bold] :smile: \ufffd[31m\ufffd2J"


def test_lines_and_tables_show_names_whole_and_without_controls(capsys):
    say(NAME)
    tell(NAME)
    table = Table(NAME, title=NAME)
    table.add_row(NAME)
    say_table(table)
    out, err = capsys.readouterr()
    assert err == f"{SEEN}\n"
    assert out.count(SEEN) == 4
    assert "\x1b" not in out


def test_progress_and_status_show_names_whole_and_without_controls(capsys):
    with Progress(Words("{task.description}"), console=Terminal(stderr=True)) as progress:
        progress.add_task(NAME)
        progress.console.print(NAME)
    with status(NAME) as replace:
        replace(NAME)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count(SEEN) >= 2
    assert "\x1b[31m" not in err


def test_json_stays_exact(capsys):
    say_json({"name": NAME, "text": "a\nb é"})
    out = capsys.readouterr().out
    assert not {"\x1b", "\x9b"} & set(out)
    assert json.loads(out) == {"name": NAME, "text": "a\nb é"}
    assert "é" in out


@pytest.mark.parametrize("args", [["fail"], ["--none\x1b[2J"], ["fail", "--count", "\x1b[2J"], ["\x1b[2J"]])
def test_messages_of_errors_have_no_controls(args):
    @click.group(cls=Group)
    def main(): ...

    @main.command()
    @click.option("--count", type=int)
    def fail(count):
        raise click.ClickException("\x1b[2J is no name")

    @click.command(cls=Command)
    @click.argument("command")
    @click.option("--count", type=int)
    def alone(command, count):
        raise click.UsageError("\x1b[2J is no name")

    for command in (main, alone):
        done = CliRunner().invoke(command, args)
        assert done.exit_code in (1, 2)
        assert "\x1b" not in done.output
        assert "\ufffd[2J" in done.output or "\\x1b[2J'" in done.output


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_file_gets_a_line_a_minute_and_one_at_the_end(capsys):
    clock = Clock()
    with Bars(unit="images", get_time=clock) as bars:
        bar = bars.bar("x -> y.h5", 3000)
        for clock.now in (20, 40, 59, 60, 100, 130):
            bar(500)
        clock.now = 1000  # what the command does after the work is not the work's
    assert capsys.readouterr().err.splitlines() == [
        "x -> y.h5: 2,000 of 3,000 images, 33 images/s, 0:00:30 left",
        "x -> y.h5: 3,000 of 3,000 images, 23 images/s, 0:02:10 in all",
    ]


def test_short_work_prints_no_line_into_a_log_file(capsys):
    clock = Clock()
    with Bars(get_time=clock) as bars:
        bar = bars.bar("x", 10)
        clock.now = 59
        bar(10)
    assert capsys.readouterr() == ("", "")


def test_work_that_ends_early_says_how_far_it_came(capsys):
    clock = Clock()
    with contextlib.suppress(ValueError), Bars(unit="steps", get_time=clock) as bars:
        bar = bars.bar("x", None)
        clock.now = 30
        bar(15)
        clock.now = 75
        raise ValueError
    assert capsys.readouterr().err == "x: 15 steps, 0.2 steps/s\n"


def test_bytes_are_shown_as_such_and_a_resumed_download_counts_what_comes(capsys):
    clock = Clock()
    with Bars(unit="bytes", get_time=clock) as bars:
        task = bars.add_task("x.tgz", total=10_000_000)
        bars.reset(task, completed=4_000_000, begun=4_000_000)
        clock.now = 60
        bars.advance(task, 3_000_000)
    assert capsys.readouterr().err == "x.tgz: 7.0 MB of 10.0 MB, 50.0 kB/s, 0:01:00 left\n"


def test_what_comes_before_the_work_is_not_counted(capsys):
    clock = Clock()
    with Bars(unit="images", get_time=clock) as bars:
        bar = bars.bar("x", 100)
        clock.now = 1800
        bar.say("the workers are there")
        bar.begin()
        clock.now = 1810
        bar(50)
        assert bar.seconds == 10
    assert capsys.readouterr().err.splitlines() == [
        "the workers are there",
        "x: 50 of 100 images, 5 images/s, 0:00:10 left",
    ]


def test_a_lump_of_finished_work_does_not_distort_the_rate():
    clock = Clock()
    bars = Bars(get_time=clock)
    bar = bars.bar("x", 400)
    clock.now = 10
    for _ in range(4):
        bar(50)
    (task,) = bars.tasks
    assert Rate("images").render(task).plain == "20 images/s"
    assert TimeLeft().render(task).plain == "0:00:10"


def test_a_terminal_gets_no_lines(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr("preprocess.terminal.LOG_SECONDS", 0.0)
    with Bars(transient=True) as bars:
        bars.bar("x", 10)(5)
    assert "of 10 images" not in capsys.readouterr().err


def test_a_status_that_changes_is_a_line_a_minute_in_a_log_file(monkeypatch, capsys):
    with status("first") as replace:
        replace("second")
        monkeypatch.setattr("preprocess.terminal.LOG_SECONDS", 0.0)
        replace("third")
    assert capsys.readouterr().err.splitlines()[-1] == "third"
