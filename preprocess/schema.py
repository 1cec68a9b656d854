"""One door for contents that somebody else wrote: they are parsed and checked before anything uses them.

A schema is an annotation of Python: a ``TypedDict``, ``list``, ``dict``, ``Literal``, a union, ``Any``, or one of these
with rules (``Annotated``). It is strict: 1.0 and True are no integers, "1" is no number. A number may be an integer.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints
from typing import is_typeddict as is_record

_SHOWN = 3  # faults in a message
_LONGEST, _LONGEST_MESSAGE = 60, 300  # characters of a part of a field's name, and of what was expected
_MOST_BITS = 1024  # of an integer that is shown: Python refuses to write thousands of digits
_EXACT = "__exact__"
_MISSING = object()

Path = tuple[object, ...]


class SchemaError(ValueError):
    """Contents that do not fit their schema; the message names field, expectation and value, but not the file."""


@dataclass(frozen=True)
class Range:
    """A rule for numbers: bounds, each of which may be absent, and whether infinities and NaN are refused."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    finite: bool = False

    def __call__(self, value: float) -> None:
        """Refuse a number. NaN is within no bounds."""
        if self.finite and not math.isfinite(value):
            raise ValueError("expected a finite number")
        inside = self.least is None or value >= self.least
        inside = inside and (self.most is None or value <= self.most)
        inside = inside and (self.above is None or value > self.above)
        if not (inside and (self.below is None or value < self.below)):
            raise ValueError(f"expected a number {self._words()}")

    def _words(self) -> str:
        bounds = {"of at least": self.least, "above": self.above, "of at most": self.most, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


@dataclass(frozen=True)
class Length:
    """A rule for lists, dictionaries and texts: how many items or characters they have."""

    least: int = 0
    most: int | None = None

    def __call__(self, value: Any) -> None:
        """Refuse a value, also a text with halves of characters, which have no length in UTF-8."""
        if isinstance(value, str):
            _whole(value)
        if not self.least <= len(value) <= (len(value) if self.most is None else self.most):
            what = "characters" if isinstance(value, str) else "items"
            most = "" if self.most is None else f" and at most {self.most:,}"
            raise ValueError(f"expected at least {self.least} {what}{most}, not {len(value):,}")


class Pattern:
    """A rule for texts: a regular expression that describes all of them, in ASCII."""

    def __init__(self, form: str) -> None:
        self.form, self._match = form, re.compile(form, re.ASCII).fullmatch

    def __call__(self, value: str) -> None:
        """Refuse a text."""
        if not self._match(value):
            raise ValueError(f"expected a text of the form {self.form}")


def exact(form: type) -> type:
    """Let a ``TypedDict`` refuse fields that it does not declare; others ignore them."""
    setattr(form, _EXACT, True)
    return form


@dataclass
class _Faults:
    """The first faults, and how many there are."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, path: Path, expected: str, value: object = _MISSING) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            where = ".".join(_brief(part) for part in path) or "the whole"  # parts may be names in the file
            got = "" if value is _MISSING else f", got {_shown(value)}"
            self.shown.append(f"{where}: {expected[:_LONGEST_MESSAGE]}{got}")


_Visit = Callable[[Any, Path, _Faults], None]


class Form:
    """A schema that is ready to check values: made once, as it costs a millisecond."""

    def __init__(self, annotation: Any) -> None:
        self.annotation, self._visit = annotation, _visitor(annotation)

    def faults(self, value: object) -> _Faults:
        """Check a value."""
        faults = _Faults()
        self._visit(value, (), faults)
        return faults


def check(form: Form, value: Any) -> Any:
    """Return the value itself if it fits.

    Raises
    ------
    SchemaError : it does not; the message has the first three faults and the number of the others.
    """
    faults = form.faults(value)
    if faults.count:
        more = faults.count - len(faults.shown)
        raise SchemaError("; ".join(faults.shown) + (f" (and {more} more)" if more else ""))
    return value


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


def _visitor(annotation: Any) -> _Visit:
    """Make the function that checks values of an annotation; the depth of a document is that of its schema."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if is_record(annotation):
        return _record(annotation)
    if origin in (Required, NotRequired):
        return _visitor(parts[0])
    if origin is Annotated:
        return _ruled(_visitor(parts[0]), annotation.__metadata__)
    if origin in (Union, UnionType):
        return _union(parts)
    if origin in _MAKERS:
        return _MAKERS[origin](*parts)
    return _SIMPLE[annotation]


def _kind(kind: type, words: str) -> _Visit:
    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            faults.add(path, f"expected {words}", value)

    return visit


def _number(value: Any, path: Path, faults: _Faults) -> None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            float(value)
            return
    except OverflowError:  # an integer of hundreds of digits
        pass
    faults.add(path, "expected a number", value)


def _anything(value: Any, path: Path, faults: _Faults) -> None:
    pass


def _literal(*options: Any) -> _Visit:
    *first, last = map(repr, options)
    words = f"{', '.join(first)} or {last}" if first else last

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if not isinstance(value, str | int | float) or value not in options:
            faults.add(path, f"expected {words}", value)

    return visit


def _list(item: Any) -> _Visit:
    visit_item = _visitor(item)

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if not isinstance(value, list):
            faults.add(path, "expected a list", value)
            return
        for place, each in enumerate(value):
            visit_item(each, (*path, place), faults)

    return visit


def _dict(key: Any, item: Any) -> _Visit:
    visit_key, visit_item = _visitor(key), _visitor(item)

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if not isinstance(value, dict):
            faults.add(path, "expected a dictionary", value)
            return
        for name, each in value.items():
            visit_key(name, (*path, name, "[key]"), faults)
            visit_item(each, (*path, name), faults)

    return visit


def _record(form: Any) -> _Visit:
    fields = {name: _visitor(hint) for name, hint in get_type_hints(form, include_extras=True).items()}
    required, refuses = form.__required_keys__, getattr(form, _EXACT, False)

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if not isinstance(value, dict):
            faults.add(path, "expected a dictionary", value)
            return
        for name, visit_field in fields.items():
            each = value.get(name, _MISSING)
            if each is not _MISSING:
                visit_field(each, (*path, name), faults)
            elif name in required:
                faults.add((*path, name), "is missing")
        if refuses and not value.keys() <= fields.keys():
            for name in (name for name in value if name not in fields):
                faults.add((*path, name), "expected no such field", value[name])

    return visit


def _union(parts: tuple[Any, ...]) -> _Visit:
    forms = [_visitor(part) for part in parts if part is not NoneType]
    nullable = NoneType in parts

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        if nullable and value is None:
            return
        tried = []
        for form in forms:
            own = _Faults()
            form(value, path, own)
            if not own.count:
                return
            tried.append(own)
        for own in tried:
            faults.count += own.count
            faults.shown += islice(own.shown, _SHOWN - len(faults.shown))

    return visit


def _ruled(visit_value: _Visit, rules: Iterable[Callable[[Any], object]]) -> _Visit:
    """Check a value, and if it is sound the rules: functions that raise ValueError. Its result does not count."""

    def visit(value: Any, path: Path, faults: _Faults) -> None:
        before = faults.count
        visit_value(value, path, faults)
        if faults.count > before:
            return
        for rule in rules:
            try:
                rule(value)
            except ValueError as error:
                faults.add(path, str(error), value)
                return

    return visit


_MAKERS = {list: _list, dict: _dict, Literal: _literal}
_SIMPLE: dict[Any, _Visit] = {
    str: _kind(str, "a text"),
    int: _kind(int, "an integer"),
    float: _number,
    bool: _kind(bool, "true or false"),
    Any: _anything,
}


def _whole(text: str) -> None:
    if not text.isascii():
        text.encode()  # raises UnicodeEncodeError, a ValueError


def _brief(part: object) -> str:
    return part[:_LONGEST] if isinstance(part, str) else _shown(part)[:_LONGEST]


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"an integer of {value.bit_length():,} bits"
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits inside
        return f"a {type(value).__name__}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
