"""One door for contents that somebody else wrote: they are parsed and checked before anything uses them.

A schema is a ``TypedDict`` or a frozen dataclass; pydantic checks it strictly: 1.0 is no integer, "1" no number.
"""

import json
import reprlib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
_SHOWN = 3  # faults in a message
_LONGEST, _LONGEST_MESSAGE = 60, 300  # characters of a part of a field's name, and of what was expected


class SchemaError(ValueError):
    """Contents that do not fit their schema; the message names field, expectation and value, but not the file."""


def check(adapter: "TypeAdapter[T]", value: object) -> T:
    """Return the value as the schema describes it.

    Raises
    ------
    SchemaError : it does not fit.
    """
    from pydantic import ValidationError  # 40 ms, which readers of JSON alone save

    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as error:
        # Without the context: it can hold an exception of ours that holds the whole document.
        faults = error.errors(include_url=False, include_context=False)
        shown = [_fault(**fault) for fault in faults[:_SHOWN]]
        more = len(faults) - len(shown)
        raise SchemaError("; ".join(shown) + (f" (and {more} more)" if more else "")) from None


def parse_json(data: bytes | str) -> Any:
    """Parse JSON from a file; NaN, endless nesting and numbers of thousands of digits are refused.

    Raises
    ------
    SchemaError : not JSON in UTF-8.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise SchemaError("it is nested too deeply") from None
    except ValueError as error:  # also of Unicode, and of too many digits
        raise SchemaError(f"it is not JSON: {error}") from None


def _fault(loc: tuple[int | str, ...], msg: str, input: object, **_: object) -> str:  # noqa: A002 - pydantic's word
    field = ".".join(str(part)[:_LONGEST] for part in loc) or "the whole"  # parts may be names in the file
    missing = msg == "Field required"
    shown = "" if missing else f", got {reprlib.repr(input)}"
    return f"{field}: {msg[:1].lower()}{msg[1:_LONGEST_MESSAGE]}{shown}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
