"""Wilson's score interval: against scipy.stats, at the ends, and what it is for."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from lgcoamix.evaluation.wilson import score_intervals


@pytest.mark.parametrize("count", [1, 2, 16, 30, 5000])
def test_intervals_are_those_of_scipy(count):
    rights = np.unique(np.linspace(0, count, 31).astype(int))
    found = score_intervals(rights / count, np.full(len(rights), count))
    expected = [binomtest(right, count).proportion_ci(0.95, method="wilson") for right in rights.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert found[0, 0] == 0
    assert found[-1, 1] == 1


def test_counts_may_differ_and_inputs_stay():
    shares, counts = np.array([0.5, 0.5]), np.array([4, 400])
    found = score_intervals(shares, counts)
    # By hand, with r = 1.96² / n: 0.5 ± sqrt(r / 4 + r² / 4) / (1 + r).
    assert found.tolist() == [pytest.approx([0.1500, 0.8500], abs=1e-4), pytest.approx([0.4512, 0.5488], abs=1e-4)]
    assert (shares.tolist(), counts.tolist()) == ([0.5, 0.5], [4, 400])


def test_few_images_are_covered_where_a_bootstrap_is_too_sure():
    """Exactly, over all outcomes of 16 images; resamples of a class are binomial."""
    outcomes, truths = np.arange(17), np.arange(50, 96) / 100
    chances = binom.pmf(outcomes, 16, truths[:, None])
    resampled = np.stack([binom.ppf(end, 16, outcomes / 16) / 16 for end in (0.025, 0.975)], axis=1)

    def coverage(ends: np.ndarray) -> float:
        held = (ends[:, 0] <= truths[:, None]) & (truths[:, None] <= ends[:, 1])
        return float((chances * held).sum(axis=1).mean())

    assert coverage(score_intervals(outcomes / 16, np.full(17, 16))) == pytest.approx(0.95, abs=0.005)
    assert coverage(resampled) == pytest.approx(0.89, abs=0.005)
