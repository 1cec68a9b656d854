"""Checks of the values in a settings dataclass. Each raises a ValueError that names the field and its valid values."""

import math
from dataclasses import field, fields
from typing import Any


def word(default: str, *choices: str) -> Any:
    """A field that holds one of a few words."""
    return field(default=default, metadata={"choices": choices})


def number(default: float, low: float, high: float) -> Any:
    """A field that holds a number in [low, high], and an integer if its default is one."""
    return field(default=default, metadata={"bounds": (low, high)})


class Checked:
    """Base of dataclasses whose fields are made by ``word`` and ``number``, or hold True or False."""

    def __post_init__(self) -> None:
        for part in fields(self):
            name, value, bounds = part.name, getattr(self, part.name), part.metadata.get("bounds")
            choices = part.metadata.get("choices", (value,))
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
            if isinstance(part.default, bool) and not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, got {value!r}")
            if bounds and isinstance(part.default, int) and not isinstance(value, int):
                raise ValueError(f"{name} must be an integer, got {value!r}")
            if bounds and not bounds[0] <= value <= bounds[1]:
                raise ValueError(f"{name} must lie in [{bounds[0]:g}, {bounds[1]:g}], got {value:g}")


def positive(settings: object, *names: str) -> None:
    """Require finite numbers above 0."""
    for name in names:
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")
