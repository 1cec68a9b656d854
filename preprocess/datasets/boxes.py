"""Bounding boxes of tables that do not say how they mean them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from preprocess.datasets.base import Box

_UNREAD = "warning: boxes are not stored: "


@dataclass(frozen=True)
class Boxes:
    """How the boxes of a table are meant.

    Parameters
    ----------
    corners : whether they are x0, y0, x1, y1, and not x, y, width, height; None if they cannot be read.
    note : what to say about it; empty if there are no boxes.
    """

    corners: bool | None
    note: str

    def of(self, found: Any) -> tuple[Box, ...]:
        """Return the boxes of a row as edges in pixels."""
        if self.corners is None:
            return ()
        boxes = _boxes(found)
        return tuple((x, y, a, b) if self.corners else (x, y, x + a, y + b) for x, y, a, b in boxes)


def read_layout(rows: Iterable[tuple[Any, tuple[Any, Any]]], column: str) -> Boxes:
    """Tell x, y, width, height (COCO) from x0, y0, x1, y1: what no box contradicts is meant.

    Parameters
    ----------
    rows : for every image, what the table says of boxes, and its width and height, or None.
    column : its name.
    """
    coco = corners = same = True
    count, largest = 0, 0.0
    try:
        for found, edges in rows:
            for x, y, a, b in _boxes(found):
                count, largest = count + 1, max(largest, x, y, a, b)
                same &= x == y == 0
                coco &= min(x, y, a, b) >= 0 and _fits(x + a, y + b, edges)
                corners &= min(x, y) >= 0 and a >= x and b >= y and _fits(a, b, edges)
    except (TypeError, ValueError, KeyError):
        return Boxes(None, f"{_UNREAD}{column!r} does not hold four numbers for each")
    if count == 0:
        return Boxes(None, "")
    if largest <= 1:
        return Boxes(None, f"{_UNREAD}those in {column!r} may be fractions of the image")
    if coco == corners and not (same and coco):
        why = "may be x, y, width, height or x0, y0, x1, y1" if coco else "are neither x, y, width, height nor corners"
        return Boxes(None, f"{_UNREAD}those in {column!r} {why}")
    return Boxes(
        corners, f"boxes: {count:,} of {column!r}, as {'x0, y0, x1, y1' if corners else 'x, y, width, height'}"
    )


def _boxes(found: Any) -> Iterator[tuple[float, float, float, float]]:
    """Boxes of ``{"bbox": [box, ...]}``, ``[{"bbox": box}, ...]``, ``[box, ...]`` or a box."""
    if isinstance(found, dict):
        found = found["bbox"]
    if isinstance(found, list) and len(found) == 4 and not any(isinstance(each, list | dict) for each in found):
        found = [found]
    for each in found or ():
        x, y, a, b = each["bbox"] if isinstance(each, dict) else each
        if not all(isinstance(edge, int | float) and math.isfinite(edge) for edge in (x, y, a, b)):
            raise ValueError("expected numbers")
        yield float(x), float(y), float(a), float(b)


def _fits(right: float, bottom: float, edges: tuple[Any, Any]) -> bool:
    """Whether a box ends inside the image; a pixel more is rounding."""
    return all(
        not isinstance(edge, int | float) or end <= edge + 1 for end, edge in zip((right, bottom), edges, strict=True)
    )
