"""Checks of the values in a settings dataclass. Each raises a ValueError that names the field and its valid values."""

import math


def between(settings: object, low: float, high: float, *names: str) -> None:
    """Require numbers in [low, high]."""
    for name in names:
        value = getattr(settings, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value:g}")


def integer(settings: object, low: int, high: int, *names: str) -> None:
    """Require integers in [low, high]."""
    for name in names:
        if not isinstance(getattr(settings, name), int):
            raise ValueError(f"{name} must be an integer, got {getattr(settings, name)!r}")
    between(settings, low, high, *names)


def positive(settings: object, *names: str) -> None:
    """Require finite numbers above 0."""
    for name in names:
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")


def flag(settings: object, *names: str) -> None:
    """Require booleans."""
    for name in names:
        if not isinstance(getattr(settings, name), bool):
            raise ValueError(f"{name} must be True or False, got {getattr(settings, name)!r}")


def one_of(settings: object, name: str, *choices: str) -> None:
    """Require one of a few words."""
    if getattr(settings, name) not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(settings, name)!r}")
