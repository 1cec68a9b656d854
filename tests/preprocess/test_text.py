"""Names as text, and tables as CSV."""

import csv
import io

import pytest

from preprocess.text import listed, shown, shown_name, to_csv


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG_1 [edited].jpg", "IMG_1 [edited].jpg"),
        ("日本 é\u0301.jpg", "日本 é\u0301.jpg"),
        ("a\x1b[31mred", "a\ufffd[31mred"),
        ("a\x9b31mred", "a\ufffd31mred"),
        ("gpj.\u202eexe", "gpj.\ufffdexe"),
        ("a\r\nb\tc", "a\ufffd\ufffdb\ufffdc"),
        ("bytes \udcff", "bytes \ufffd"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_no_name_commands_a_terminal(name, expected):
    assert shown_name(name) == expected


def test_lines_and_tabs_of_a_text_stay():
    assert shown("a\n\tb\r\x07") == "a\n\tb\ufffd\ufffd"


def test_a_long_list_is_counted():
    assert listed("abcde") == "a, b, c and 2 more"
    assert listed("abc") == "a, b, c"


def test_cells_that_a_spreadsheet_would_run_become_text():
    rows = [{"=key": "=1+1", "b": "@SUM(A1)"}, {"=key": "-2.5", "b": -2.5, "c": "+cmd|x"}, {"=key": "a=b", "b": None}]
    text = to_csv(rows)
    assert list(csv.reader(io.StringIO(text))) == [
        ["'=key", "b", "c"],
        ["'=1+1", "'@SUM(A1)", ""],
        ["-2.5", "-2.5", "'+cmd|x"],
        ["a=b", "", ""],
    ]
    assert to_csv([{"a": 1}], header=False, end="\r\n") == "1\r\n"
