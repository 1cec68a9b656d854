"""Bootstrap intervals of the figures of an evaluation: how far other test images might move them."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from lgcoamix.evaluation.wilson import CONFIDENCE, score_intervals
from lgcoamix.ops.seeding import derive_seed

RESAMPLES = 2000
_ROOM = 4_000_000  # counts that are held at a time
Key = TypeVar("Key")


def resampled_means(columns: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Draw the images again and again, as many as there are, and average each time.

    Parameters
    ----------
    columns : (n, m) array, one row per image.
    seed : decides the draws, which are the same for all columns.
    resamples : R.

    Returns
    -------
    (R, m) float64 array.
    """
    n, generator = len(columns), np.random.default_rng(derive_seed("bootstrap", seed))
    values, means = columns.astype(np.float64, copy=False), np.empty((resamples, columns.shape[1]))
    at_once = max(1, _ROOM // n)
    for begin in range(0, resamples, at_once):
        part = means[begin : begin + at_once]
        rows = np.arange(len(part))[:, None] * n
        draws = generator.integers(0, n, (len(part), n))
        counts = np.bincount((draws + rows).ravel(), minlength=rows.size * n).reshape(len(part), n)
        part[:] = counts.astype(np.float64) @ values / n
    return means


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval: of (R,) values of a figure, what lies in the middle 95 %.

    References
    ----------
    Efron, Tibshirani: An Introduction to the Bootstrap. Chapman & Hall 1993, section 13.3.
    """
    low, high = np.quantile(values, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def ends_of(columns: np.ndarray, figures: np.ndarray) -> tuple[float, float]:
    """Return the interval of a figure.

    Parameters
    ----------
    columns : (n, m) array of its parts, one row per image.
    figures : (R,) array, its value in each resample.

    Notes
    -----
    Resamples of images that are all right, or all wrong, are all alike: such accuracies, of one column that holds 0 or
    100, get Wilson's interval.
    """
    first = columns[0, 0]
    if columns.shape[1] == 1 and first in (0, 100) and (columns == first).all():
        low, high = 100 * score_intervals(columns[0] / 100, np.array([len(columns)]))[0]
        return float(low), float(high)
    return percentiles(figures)


def intervals(parts: Mapping[Key, np.ndarray], seed: int) -> dict[Key, tuple[float, float]]:
    """Return the interval of each figure; all are resampled together.

    Parameters
    ----------
    parts : figure -> (n, m) array: the absolute means of its columns add up to the figure.
    seed : decides the draws.
    """
    if not parts:
        return {}
    ends = np.cumsum([columns.shape[1] for columns in parts.values()])
    means = np.abs(resampled_means(np.concatenate(list(parts.values()), axis=1), seed))
    draws = zip(parts, np.split(means, ends[:-1], axis=1), strict=True)
    return {key: ends_of(parts[key], own.sum(axis=1)) for key, own in draws}
