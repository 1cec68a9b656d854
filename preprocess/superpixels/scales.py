"""Which segment counts are stored, and how often training draws each of them.

The papers draw the count uniformly from a range for each image and step. Counts whose seed grid has the same
rounded start and step give the same SLIC map, so a range is a short list of distinct grids; a few of them, with the
draw weights that the uniform draw gives them, stand for the range.
"""

from dataclasses import dataclass
from itertools import groupby

from skimage import util


@dataclass(frozen=True)
class Scale:
    """One stored segment count.

    Parameters
    ----------
    segments : the count that the algorithm is asked for.
    weight : probability that training draws this scale; the weights of a store sum to 1.
    """

    segments: int
    weight: float


def parse_segments(text: str) -> range | tuple[int, ...]:
    """Read ``"30:40"`` (both ends included), ``"50"`` or ``"25,50,100"``.

    Raises
    ------
    ValueError : anything else, or a count below 1.
    """
    try:
        if ":" in text:
            low, high = (int(part) for part in text.split(":"))
            counts: range | tuple[int, ...] = range(low, high + 1)
        else:
            counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise ValueError(f"expected a count N, a range LO:HI or a list N,N,... of positive integers, got {text!r}")
    return counts


def describe_counts(counts: range | tuple[int, ...], scales: tuple[Scale, ...]) -> str:
    """Write counts in short: ``25,50``, or for a range and the scales that stand for it ``30:40x4``."""
    if isinstance(counts, range):
        return f"{counts[0]}:{counts[-1]}x{len(scales)}"
    return ",".join(map(str, counts))


def choose_scales(counts: range | tuple[int, ...], shape: tuple[int, int], most: int | None) -> tuple[Scale, ...]:
    """Choose the counts to store.

    Parameters
    ----------
    counts : an explicit list is stored as it is, with equal weights; a range is represented.
    shape : (H, W) of the stored images.
    most : the number of scales that may stand for a range; None for every distinct grid.

    Returns
    -------
    Scales by rising count. For a range its distinct grids, in order, are cut into ``most`` runs that hold about
    equally many counts; each run is stored as its middle count and weighted by the counts in it.
    """
    if not isinstance(counts, range):
        return tuple(Scale(count, 1 / len(counts)) for count in counts)
    grids = [list(group) for _, group in groupby(counts, key=lambda count: seed_grid(shape, count))]
    runs: dict[int, list[int]] = {}
    number = len(grids) if most is None else min(most, len(grids))
    before = 0
    for index, grid in enumerate(grids):
        # The run that the middle of this grid falls into, but never so late that a later run would stay empty.
        middle = int((before + len(grid) / 2) * number / len(counts))
        latest = len(runs)
        run = min(max(middle, number - len(grids) + index), latest)
        runs.setdefault(run, []).extend(grid)
        before += len(grid)
    return tuple(Scale(run[(len(run) - 1) // 2], len(run) / len(counts)) for run in runs.values())


def seed_grid(shape: tuple[int, int], count: int) -> tuple[tuple[int, int], ...]:
    """Start and step, along H and W, of the grid on which SLIC places ``count`` seeds."""
    # scikit-image treats a picture as a volume of depth 1.
    return tuple((int(axis.start or 0), int(axis.step or 1)) for axis in util.regular_grid((1, *shape), count)[1:])
