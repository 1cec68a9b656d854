"""Intervals of accuracies of few images, such as those of one class."""

from statistics import NormalDist

import numpy as np

from lgcoamix.runs.paired import CONFIDENCE


def score_intervals(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute Wilson's score interval of proportions.

    Parameters
    ----------
    shares : (N,) array of proportions, in [0, 1].
    counts : (N,) array: how many draws each is of, at least 1.

    Returns
    -------
    (N, 2) float64 array of ends, in [0, 1].

    Notes
    -----
    Percentiles of a bootstrap would say that a class of which all 16 images are right is right for certain.

    References
    ----------
    Brown, Cai, DasGupta: Interval Estimation for a Binomial Proportion. Statistical Science 2001,
    doi:10.1214/ss/1009213286.
    """
    ratio = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2 / counts
    half = np.sqrt(ratio * shares * (1 - shares) + ratio**2 / 4)
    ends = (shares + ratio / 2)[:, None] + half[:, None] * (-1, 1)
    return (ends / (1 + ratio)[:, None]).clip(0, 1)
