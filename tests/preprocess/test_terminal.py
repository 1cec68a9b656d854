"""What is printed is data: no name is markup, and none commands the terminal."""

import json

import click
import pytest
from click.testing import CliRunner
from rich.progress import Progress
from rich.table import Table

from preprocess.terminal import Command, Group, Terminal, Words, say, say_json, say_table, status

NAME = "[bold]IMG_1[/bold] :smile: \x1b[31m\x9b2J"
SEEN = "[bold]IMG_1[/bold] :smile: \ufffd[31m\ufffd2J"


def test_lines_and_tables_show_names_whole_and_without_controls(capsys):
    say(NAME)
    say(NAME, err=True)
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
