"""The door for contents that somebody else wrote."""

from typing import Annotated, Any, Literal, Required, TypedDict

import pytest

from preprocess.schema import Form, Length, Range, SchemaError, check, exact, parse_json


class _Entry(TypedDict):
    rows: list[Annotated[int, Range(least=0)]]
    name: str


@exact
class _Exact(TypedDict, total=False):
    size: Required[Annotated[int, Range(above=0, most=9)] | None]
    codec: Literal["raw", "png"]
    names: Annotated[list[str], Length(least=1)] | str


def test_a_fault_names_field_expectation_and_value() -> None:
    entry = Form(_Entry)
    assert check(entry, {"rows": [1], "name": "a"}) == {"rows": [1], "name": "a"}
    with pytest.raises(SchemaError) as caught:
        check(entry, {"rows": [1, -2, True]})
    assert str(caught.value) == (
        "rows.1: expected a number of at least 0, got -2; rows.2: expected an integer, got True; name: is missing"
    )
    with pytest.raises(SchemaError, match=r"^x{60}: expected an integer, got 'y'$"):
        check(Form(dict[str, int]), {"x" * 100_000: "y"})
    with pytest.raises(SchemaError, match=r"\(and 7 more\)$"):
        check(entry, {"rows": ["x"] * 10, "name": "a"})


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "the whole: expected a dictionary, got []"),
        ({}, "size: is missing"),
        ({"size": 10}, "size: expected a number above 0 and of at most 9, got 10"),
        ({"size": 1.0}, "size: expected an integer, got 1.0"),
        ({"size": None, "codec": "gif"}, "codec: expected 'raw' or 'png', got 'gif'"),
        (
            {"size": None, "names": []},
            "names: expected at least 1 items, not 0, got []; names: expected a text, got []",
        ),
        ({"size": None, "hook": {"a": 1}}, "hook: expected no such field, got {'a': 1}"),
        ({"size": 10**5000}, "size: expected a number above 0 and of at most 9, got an integer of 16,610 bits"),
        ({"size": [10**5000]}, "size: expected an integer, got a list"),
    ],
)
def test_a_fault_of_every_kind_has_its_words(document: Any, fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        check(Form(_Exact), document)
    assert str(caught.value) == fault


def test_a_document_without_end_is_not_walked_beyond_its_schema() -> None:
    endless: list = []
    endless.append(endless)
    assert check(Form(dict[str, Any]), {"a": endless}) == {"a": endless}
    with pytest.raises(SchemaError, match=r"^a.0: expected an integer, got \["):
        check(Form(dict[str, list[int]]), {"a": endless})


def test_names_of_fields_that_are_no_texts_are_shown_in_short() -> None:
    with pytest.raises(SchemaError, match=r"^an integer of 16,610 bits.\[key\]: expected a text, got an integer"):
        check(Form(dict[str, int]), {10**5000: 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "it is not JSON: Exceeds the limit"),
        (b"\xff", "it is not JSON: 'utf-8' codec"),
    ],
)
def test_odd_json_is_refused_with_the_reason(text: bytes, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        parse_json(text)
