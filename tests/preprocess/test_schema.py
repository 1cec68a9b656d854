"""The door for contents that somebody else wrote."""

from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from preprocess.schema import SchemaError, check, parse_json


class _Entry(TypedDict):
    rows: list[Annotated[int, Field(ge=0)]]
    name: str


def test_a_fault_names_field_expectation_and_value() -> None:
    entry = TypeAdapter(_Entry)
    assert check(entry, {"rows": [1], "name": "a"}) == {"rows": [1], "name": "a"}
    with pytest.raises(SchemaError) as caught:
        check(entry, {"rows": [1, -2, True]})
    assert str(caught.value) == (
        "rows.1: input should be greater than or equal to 0, got -2; rows.2: input should be a valid integer, got "
        "True; name: field required"
    )
    with pytest.raises(SchemaError, match=r"^x{60}: input should be a valid integer, got 'y'$"):
        check(TypeAdapter(dict[str, int]), {"x" * 100_000: "y"})
    with pytest.raises(SchemaError, match=r"\(and 7 more\)$"):
        check(entry, {"rows": ["x"] * 10, "name": "a"})


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
