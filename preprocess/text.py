"""Text for people: lists that end in "and 4 more", tables as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence


def listed(names: Sequence[object], shown: int = 3) -> str:
    """The first names, and how many more there are: "a, b, c and 4 more"."""
    rest = len(names) - shown
    return ", ".join(map(str, names[:shown])) + (f" and {rest} more" if rest > 0 else "")


def to_csv(rows: Sequence[Mapping[str, object]], header: bool = True, end: str = "\n") -> str:
    """Rows as CSV, with a column for every key in the order in which the keys come; ``end`` ends a line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator=end)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
