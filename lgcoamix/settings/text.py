"""Suggestions for unknown words; names and values of settings as users type them; the gist of an error."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def suggest(word: str, choices: Iterable[str], otherwise: str | None = None) -> str:
    """Say "did you mean ...?"; if no choice is close, list all, or say what stands in ``otherwise``."""
    names = list(choices)
    if close := difflib.get_close_matches(word, names, n=2, cutoff=0.6):
        return f"did you mean {' or '.join(close)}?"
    return f"choose one of: {', '.join(names)}" if otherwise is None else otherwise


def first_line(error: Exception) -> str:
    """The first line of an error's message; its class if it says nothing."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries into one, with keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def text_of(value: object) -> str:
    """A value in the form of ``--set``: ``true``, ``none``, ``0.1,1.0``."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return ",".join(map(text_of, value)) if isinstance(value, tuple | list) else str(value)
