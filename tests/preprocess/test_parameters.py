"""Types of options."""

from pathlib import Path

import click
import pytest

from preprocess.parameters import FiniteRange, NamedPath


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "-1"])
def test_a_number_is_finite_and_in_its_range(text):
    with pytest.raises(click.BadParameter):
        FiniteRange(0).convert(text, None, None)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202ex", "a\x9bb"])
def test_a_path_forges_no_line_and_commands_no_terminal(name):
    with pytest.raises(click.BadParameter, match="expected a path without control characters"):
        NamedPath().convert(name, None, None)


def test_any_other_path_is_taken():
    for name in ("IMG 1 [edited].jpg", "é\u0301", "bytes \udcff"):
        assert NamedPath().convert(name, None, None) == Path(name)
