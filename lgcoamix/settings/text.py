"""Suggestions for unknown words, and nested settings as flat ones."""

import difflib
from collections.abc import Mapping
from typing import Any


def suggest(word: str, choices: object) -> str:
    """Say "did you mean ...?", or list what there is."""
    names = list(choices)
    close = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
