"""Checks of the values in a settings dataclass. Each raises a ValueError that names the field and its valid values."""

import re
import reprlib
from dataclasses import Field, field, fields
from typing import Any

LARGEST_SIDE = 4096  # pixels of an input
TESTS = ("resize", "center")  # what of a stored image a test sees
STATISTICS = ("none", "backbone", "cifar")  # by which inputs are normalised
LARGEST_FLOAT = 3.4e38  # of 32 bits
_LONGEST = 4096  # characters of a text, as of a path
_KINDS = {  # of a default: what such a value is
    bool: ("True or False", bool),
    int: ("an integer", int),
    float: ("a number", (int, float)),
    str: (f"a text of at most {_LONGEST} characters", str),
}


def word(default: str, *choices: str) -> Any:
    """A field that holds one of a few words."""
    return field(default=default, metadata={"choices": choices})


def number(default: float | None, low: float, high: float) -> Any:
    """A field that holds a number in [low, high]. Its default makes it an integer; None allows an integer or None."""
    return field(default=default, metadata={"bounds": (low, high)})


def pair(low: float, high: float, least: float, most: float) -> Any:
    """A field that holds two numbers LOW <= HIGH in [least, most]."""
    return field(default=(low, high), metadata={"pair": (least, most)})


def timm_name(default: str) -> Any:
    """A field that holds the name of a network in timm: no path, and no address."""
    return field(default=default, metadata={"pattern": r"\w[\w.-]{,199}"})


class Checked:
    """Base of dataclasses whose fields are made by the functions above, or hold True, False or a text."""

    def __post_init__(self) -> None:
        for part in fields(self):  # pyrefly: ignore[bad-argument-type] - every subclass is a dataclass
            value, wrong = getattr(self, part.name), _fault(part, getattr(self, part.name))
            if wrong:
                raise ValueError(f"{part.name} must {wrong}, got {shown(value)}")


def shown(value: object) -> str:
    """Any value as a short text."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python converts no integers of more than 4,300 digits
        return "an integer of thousands of digits"


def _fault(part: Field, value: object) -> str | None:
    """What the value must do, and does not."""
    form, default = part.metadata, part.default
    if value is None and default is None:
        return None
    if "pair" in form:
        return _fault_of_pair(value, *form["pair"])
    expected, kind = _KINDS.get(int if default is None else type(default), ("", object))
    is_other = not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object))
    if is_other or (isinstance(value, str) and len(value) > _LONGEST):
        return f"be {expected}"
    if "choices" in form and value not in form["choices"]:
        return f"be one of {', '.join(form['choices'])}"
    if "pattern" in form and not re.fullmatch(form["pattern"], value):
        return "be the name of a network in timm, such as resnet18"
    if "bounds" in form and not form["bounds"][0] <= value <= form["bounds"][1]:
        return f"lie in [{form['bounds'][0]:g}, {form['bounds'][1]:g}]"
    return None


def _fault_of_pair(value: object, least: float, most: float) -> str | None:
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int | float) for part in value)
    if not is_pair or not least <= value[0] <= value[1] <= most:
        return f"be LOW,HIGH with {least:g} <= LOW <= HIGH <= {most:g}"
    return None
