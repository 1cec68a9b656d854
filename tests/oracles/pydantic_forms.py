"""The schemas of our files for pydantic, made from the same declarations: an independent judge of documents."""

from collections.abc import Callable
from functools import reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from preprocess.schema import Form, Length, Pattern, Range
from preprocess.store.schema import _check_word

WORD = r"^\w[\w.,:+-]*$"  # in the words of the Rust library of pydantic


def judge_of(form: Form) -> TypeAdapter:
    """What pydantic makes of a form."""
    return TypeAdapter(_translated(form.annotation))


def _translated(annotation: Any) -> Any:
    origin, parts = get_origin(annotation), get_args(annotation)
    if is_typeddict(annotation):
        return _record(annotation)
    if origin is Annotated:
        return Annotated[(_translated(parts[0]), *map(_rule, annotation.__metadata__))]
    if origin in (Union, UnionType):
        return reduce(or_, map(_translated, parts))
    if origin in (list, dict):
        return origin[tuple(map(_translated, parts))]
    assert origin is Literal or annotation in (str, int, float, bool, Any, type(None)), annotation
    return annotation


def _record(form: Any) -> Any:
    fields = {}
    for name, hint in get_type_hints(form, include_extras=True).items():
        bare = get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint
        fields[name] = (Required if name in form.__required_keys__ else NotRequired)[_translated(bare)]
    record = TypedDict(form.__name__, fields)
    return with_config(ConfigDict(extra="forbid"))(record) if getattr(form, "__exact__", False) else record


def _rule(rule: Any) -> Any:
    if isinstance(rule, Range):
        finite = {"allow_inf_nan": False} if rule.finite else {}
        return Field(ge=rule.least, le=rule.most, gt=rule.above, lt=rule.below, **finite)
    if isinstance(rule, Length):
        return Field(min_length=rule.least, max_length=rule.most)
    if isinstance(rule, Pattern):
        return Field(pattern=f"^(?:{rule.form})$")
    return Field(pattern=WORD) if rule is _check_word else AfterValidator(_unchanged(rule))


def _unchanged(rule: Callable[[Any], object]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        rule(value)
        return value

    return checked
