"""Which segment counts to store, and how often training draws each of them.

The papers draw the count uniformly from a range for each image and step. Counts whose seed grids have the same
rounded start and step give the same SLIC map, so a range contains only a few distinct grids. We store some of them
and weight each one by the counts it represents.
"""

import reprlib
from dataclasses import dataclass
from itertools import groupby

from preprocess.extras import required

MOST_SEGMENTS = 65_534  # ids have 16 bits, of which the highest value means none


@dataclass(frozen=True)
class Scale:
    """One stored segment count.

    Parameters
    ----------
    segments : the count requested from the algorithm.
    weight : probability that training draws this scale. The weights of a superpixel set sum to 1.

    Examples
    --------
    >>> from preprocess import Store
    >>> Store("data/cub.h5").scales
    (Scale(segments=4, weight=0.5), Scale(segments=9, weight=0.5))
    """

    segments: int
    weight: float


def parse_segments(text: str) -> range | tuple[int, ...]:
    """Read ``"30:40"`` (both ends included), ``"50"`` or ``"25,50,100"``.

    Raises
    ------
    ValueError : the text has another form, or a count is not from 1 to 65,534.
    """
    try:
        numbers = [int(part) for part in text.split(":" if ":" in text else ",")]
    except ValueError:
        numbers = []
    if ":" in text and (len(numbers) != 2 or numbers[0] > numbers[1]):
        numbers = []
    if not numbers or not 1 <= min(numbers) <= max(numbers) <= MOST_SEGMENTS:
        raise ValueError(
            "expected a count N, a range LO:HI or a list N,N,... of positive integers up to "
            f"{MOST_SEGMENTS}, got {reprlib.repr(text)}"
        )
    return range(numbers[0], numbers[1] + 1) if ":" in text else tuple(sorted(set(numbers)))


def describe_counts(counts: range | tuple[int, ...], scales: tuple[Scale, ...]) -> str:
    """Short form of the counts: ``25,50``, or ``30:40x4`` for a range that 4 scales represent."""
    if isinstance(counts, range):
        return f"{counts[0]}:{counts[-1]}x{len(scales)}"
    return ",".join(map(str, counts))


def choose_scales(counts: range | tuple[int, ...], shape: tuple[int, int], most: int | None) -> tuple[Scale, ...]:
    """Choose the counts to store.

    Parameters
    ----------
    counts : a tuple is stored as given, with equal weights. A range is represented by some of its counts.
    shape : (H, W) of the stored images.
    most : largest number of scales for a range; None stores every distinct grid.

    Returns
    -------
    Scales by increasing count. The distinct grids of a range are split, in order, into ``most`` runs of about equally
    many counts. Each run is stored as its middle count, weighted by the number of counts in the run.

    Examples
    --------
    >>> from preprocess import choose_scales
    >>> for scale in choose_scales(range(30, 41), (224, 224), most=4):
    ...     print(scale.segments, f"{scale.weight:.3f}")
    31 0.273
    33 0.182
    36 0.273
    39 0.273
    """
    if not isinstance(counts, range):
        return tuple(Scale(count, 1 / len(counts)) for count in counts)
    grids = [list(group) for _, group in groupby(counts, key=lambda count: seed_grid(shape, count))]
    runs: dict[int, list[int]] = {}
    number = len(grids) if most is None else min(most, len(grids))
    before = 0
    for index, grid in enumerate(grids):
        # The run that contains the middle of this grid, but early enough to leave a grid for every later run.
        middle = int((before + len(grid) / 2) * number / len(counts))
        latest = len(runs)
        run = min(max(middle, number - len(grids) + index), latest)
        runs.setdefault(run, []).extend(grid)
        before += len(grid)
    return tuple(Scale(run[(len(run) - 1) // 2], len(run) / len(counts)) for run in runs.values())


def seed_grid(shape: tuple[int, int], count: int) -> tuple[tuple[int, int], ...]:
    """Start and step, along H and W, of the grid on which SLIC places ``count`` seeds."""
    # scikit-image treats an image as a volume of depth 1.
    with required("preprocess.choose_scales"):
        from skimage.util import regular_grid

    return tuple((int(axis.start or 0), int(axis.step or 1)) for axis in regular_grid((1, *shape), count)[1:])


def superpixels_name(algorithm: str, compactness: float | None) -> str:
    """Return a name such as ``slic-c10``."""
    if compactness is None:
        return algorithm
    return f"{algorithm}-c{int(compactness) if compactness == int(compactness) else compactness}"


def column_name(algorithm: str, compactness: float | None, segments: int) -> str:
    """Return the name of a column of maps, such as ``slic-c10-36``."""
    return f"{superpixels_name(algorithm, compactness)}-{segments}"
