"""Help and usage errors of all commands of both packages, on wide and narrow terminals."""

import click
import pytest
from click.testing import CliRunner

from lgcoamix.cli import main as training
from lgcoamix.cli import train
from preprocess.cli import main as preparation
from preprocess.parameters import Choice

COMMANDS = {
    f"{prog} {name}": (group, [name])
    for prog, group in (("preprocess", preparation), ("lgcoamix", training))
    for name in group.commands
} | {"train.py": (train, [])}


def words(command: click.Command, arguments: list[str], columns: int) -> list[str]:
    """Words that a command prints on a terminal of so many columns."""
    done = CliRunner().invoke(command, arguments, terminal_width=columns, max_content_width=columns)
    return done.output.split()


def halves(word: str) -> list[str]:
    """A word, and its parts up to a hyphen and from there on, which may stand on two lines."""
    places = [place + 1 for place, letter in enumerate(word) if letter == "-"]
    return [word, *(part for place in places for part in (word[:place], word[place:]))]


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_word_of_help_or_of_a_usage_error_is_broken(name, columns):
    command, arguments = COMMANDS[name]
    for more in (["--help"], ["--no-such-option"]):
        whole = {part for word in words(command, [*arguments, *more], 1000) for part in halves(word)}
        assert [word for word in words(command, [*arguments, *more], columns) if word not in whole] == []


def test_all_choices_of_both_packages_make_suggestions():
    commands = [*preparation.commands.values(), *training.commands.values(), train]
    kinds = {type(option.type) for command in commands for option in command.params}
    assert Choice in kinds
    assert click.Choice not in kinds
