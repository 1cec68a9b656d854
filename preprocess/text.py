"""Text formatting: shortened lists and CSV tables."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# What a terminal may obey instead of show: controls, separators of lines, turns of the writing direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def listed(names: Sequence[object], shown: int = 3) -> str:
    """Join the first names and count the rest, as in "a, b, c and 4 more"."""
    rest = len(names) - shown
    return ", ".join(map(str, names[:shown])) + (f" and {rest} more" if rest > 0 else "")


def to_csv(rows: Sequence[Mapping[str, object]], header: bool = True, end: str = "\n") -> str:
    """Format rows as CSV with a column for every key, in order of appearance; ``end`` terminates lines."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator=end)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def shown_name(path: Path | str) -> str:
    """A path or a class name as text that any terminal takes, and does not obey."""
    return _CONTROLS.sub("\ufffd", os.fsencode(path).decode("utf-8", "replace"))
