"""Images that are stored as they are, but are probably not what somebody wanted to store: kinds, and their bits."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from preprocess.text import listed

RANGE, FLOAT, CONSTANT, THIN, CLIPPED, FAINT = 1, 2, 4, 8, 16, 32  # the bits of an image; a shard holds their sum
KINDS = {"range": RANGE, "float": FLOAT, "constant": CONSTANT, "thin": THIN, "clipped": CLIPPED, "faint": FAINT}
LEAST_OF_RANGE = 4  # an image whose largest value is below this part of its type's is dark: up to 14 bits in 16
EXAMPLES = 20  # keys in an index, of each kind
_TEXTS = {  # for one image and for several
    "range": ("uses less than a quarter of its range of values", "use less than a quarter of their range of values"),
    "float": ("has floating-point values, scaled by a guess", "have floating-point values, scaled by a guess"),
    "constant": ("is one colour", "are one colour"),
    "thin": ("is very narrow", "are very narrow"),
    "clipped": ("has values beyond 0 and 65,535, cut off there", "have values beyond 0 and 65,535, cut off there"),
    "faint": ("is almost transparent", "are almost transparent"),
}
# Times the shorter side: panoramas of phones end at 8, and a square of it would keep a tenth of the detail.
_WIDEST = 10
_NARROWEST = 8  # pixels: the smallest --size; below it there is nothing to segment
_PROBES = 4  # rows and columns of pixels that are looked at before all are


def judge(image: Image.Image) -> int:
    """Bits of an image as it is stored but for its size, mode RGB. A few pixels suffice for almost all images."""
    width, height = image.size
    thin = THIN * (max(image.size) > _WIDEST * min(image.size) or min(image.size) < _NARROWEST)
    steps = [(2 * step + 1) / (2 * _PROBES) for step in range(_PROBES)]
    probes = {image.getpixel((int(x * width), int(y * height))) for x in steps for y in steps}
    if len(probes) > 1 and max(map(max, probes)) >= 256 // LEAST_OF_RANGE:
        return thin
    bands = image.getextrema()
    if all(least == most for least, most in bands):
        return thin | CONSTANT
    return thin | RANGE * (max(most for _, most in bands) < 256 // LEAST_OF_RANGE)


def summary(flags: np.ndarray, keys: Sequence[str]) -> dict[str, dict]:
    """Count each kind and name the first images of it.

    Parameters
    ----------
    flags : (n,) uint8 array, the bits of every image.
    keys : n names.

    Returns
    -------
    kind -> its ``count`` and the first keys as ``examples``; only kinds that occur.
    """
    found = {}
    for kind, bit in KINDS.items():
        rows = np.flatnonzero(flags & bit)
        if len(rows):
            found[kind] = {"count": len(rows), "examples": [keys[row] for row in rows[:EXAMPLES].tolist()]}
    return found


def joined(found: Iterable[dict[str, dict]]) -> dict[str, dict]:
    """Join the summaries of several splits."""
    parts = list(found)
    together = {}
    for kind in KINDS:
        of_kind = [part[kind] for part in parts if kind in part]
        if of_kind:
            examples = [key for entry in of_kind for key in entry["examples"]][:EXAMPLES]
            together[kind] = {"count": sum(entry["count"] for entry in of_kind), "examples": examples}
    return together


def describe(found: dict[str, dict]) -> str:
    """For example ``1 uses less than a quarter of its range of values (train/a/1.png), 3 are one colour (...)``."""
    parts = []
    for kind, entry in found.items():
        count, examples = entry["count"], entry["examples"]
        parts.append(f"{count:,} {text_of(kind, count)} ({listed(examples[:1])}{', ...' if count > 1 else ''})")
    return ", ".join(parts)


def text_of(kind: str, count: int) -> str:
    """What images of a kind do, as the end of a sentence."""
    return _TEXTS[kind][count > 1]
