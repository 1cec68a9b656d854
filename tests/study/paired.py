"""Differences by seed, and how far chance may move their mean."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import t


@dataclass(frozen=True)
class Paired:
    """Differences of two groups, seed by seed.

    Parameters
    ----------
    differences : by seed, of the seeds that both have.
    mean : of the differences.
    low, high : interval for the mean difference; None for one seed.
    """

    differences: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None


def paired(values: Mapping[int, float], others: Mapping[int, float], confidence: float = 0.95) -> Paired | None:
    """Compare two groups by their common seeds.

    Parameters
    ----------
    values, others : seed -> figure.
    confidence : of the interval.

    Returns
    -------
    ``values - others``; None without a common seed.

    Notes
    -----
    Student's t, for normal differences: mean ± t(n - 1) · s / √n. A seed decides the initial weights, the order of
    the images and their crops in both groups alike, which is why they are paired.
    """
    differences = {seed: values[seed] - others[seed] for seed in sorted(values.keys() & others.keys())}
    if not differences:
        return None
    count, mean = len(differences), statistics.mean(differences.values())
    if count == 1:
        return Paired(differences, mean, None, None)
    reach = float(t.ppf((1 + confidence) / 2, count - 1)) * statistics.stdev(differences.values()) / math.sqrt(count)
    return Paired(differences, mean, mean - reach, mean + reach)
