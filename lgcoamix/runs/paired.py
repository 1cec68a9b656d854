"""Differences by seed: how far chance may move their mean, and a test of it. Does not import torch."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95
_EQUAL = 1e-9  # percentage points; two accuracies on n images differ by 100/n or not at all


@dataclass(frozen=True)
class Paired:
    """Differences of two groups, seed by seed.

    Parameters
    ----------
    differences : by seed, of the seeds that both have.
    mean : of the differences.
    low, high : interval for the mean difference; None for one seed, and if all differences are equal.
    p : of the two-sided test that the mean difference is 0; None as the interval.
    left_out : seeds that only one group has.
    """

    differences: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None
    p: float | None
    left_out: tuple[int, ...] = ()


def paired(values: Mapping[int, float], others: Mapping[int, float]) -> Paired | None:
    """Compare two groups by their common seeds.

    Parameters
    ----------
    values, others : seed -> figure.

    Returns
    -------
    ``values - others``; None without a common seed.

    Notes
    -----
    Student's t, for normal differences: the interval is mean ± t(n - 1) · s / √n, the test the paired t-test. A seed
    decides the initial weights, the order of the images and their crops in both groups alike, which is why they are
    paired. Equal differences have no spread to measure chance by.
    """
    differences = {seed: values[seed] - others[seed] for seed in sorted(values.keys() & others.keys())}
    if not differences:
        return None
    left_out = tuple(sorted(values.keys() ^ others.keys()))
    count, mean = len(differences), statistics.mean(differences.values())
    spread = statistics.stdev(differences.values()) if count > 1 else 0.0
    if spread < _EQUAL:
        return Paired(differences, mean, None, None, None, left_out)
    from scipy.special import stdtr, stdtrit  # the distribution of Student's t; scipy.stats takes a second to import

    error = spread / math.sqrt(count)
    reach = error * float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    p = 2 * float(stdtr(count - 1, -abs(mean) / error))
    return Paired(differences, mean, mean - reach, mean + reach, p, left_out)
