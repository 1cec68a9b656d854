"""Paired differences: against a slow computation of Student's t by hand, and against scipy.stats."""

import math

import pytest
from scipy.stats import ttest_rel

from lgcoamix.runs.paired import paired


def slow_share(point: float, freedom: int, parts: int = 2000) -> float:
    """Share of Student's t below a positive point: its density, summed by Simpson's rule."""
    factor = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))

    def density(x: float) -> float:
        return factor * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    step = point / parts
    inner = sum((4 if number % 2 else 2) * density(number * step) for number in range(1, parts))
    return 0.5 + step / 3 * (density(0) + inner + density(point))


def slow_quantile(share: float, freedom: int) -> float:
    """Quantile of Student's t, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slow_share(middle, freedom) < share else (low, middle)
    return low


@pytest.mark.parametrize("count", [2, 3, 5, 11])
def test_interval_and_test_are_those_of_a_slow_hand_computation_and_of_scipy(count):
    values = {seed: 70 + seed**1.5 for seed in range(count)}
    others = {seed: 69 + 2 * math.sin(seed) for seed in range(count)}
    differences = [values[seed] - others[seed] for seed in range(count)]
    mean = sum(differences) / count
    error = math.sqrt(sum((each - mean) ** 2 for each in differences) / (count - 1)) / math.sqrt(count)
    reach = slow_quantile(0.975, count - 1) * error
    found = paired(values, others)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach), rel=1e-6)
    assert found.p == pytest.approx(2 * (1 - slow_share(abs(mean) / error, count - 1)), rel=1e-6)
    theirs = ttest_rel(list(values.values()), list(others.values()))
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-12)
    assert paired(others, values).p == found.p


def test_three_differences_have_the_interval_of_the_printed_table():
    found = paired({0: 71.0, 1: 72.0, 2: 73.0}, {0: 70.0, 1: 70.0, 2: 70.0})  # 1, 2, 3: deviation 1; t(2) = 4.303
    assert found.differences == {0: 1.0, 1: 2.0, 2: 3.0}
    assert (found.low, found.high) == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)), abs=1e-3)
    # With two degrees of freedom the share below t is 1/2 + t / (2 √(2 + t²)); t = 2√3.
    assert found.p == pytest.approx(1 - 2 * math.sqrt(3) / math.sqrt(14))


def test_seeds_that_one_group_lacks_are_left_out_and_named():
    found = paired({0: 5.0, 2: 9.0}, {2: 8.0, 1: 3.0})
    assert (found.differences, found.left_out) == ({2: 1.0}, (0, 1))
    assert paired({0: 5.0}, {1: 3.0}) is None


def test_one_seed_and_equal_differences_have_neither_interval_nor_test():
    for found in (paired({2: 9.0}, {2: 8.0}), paired({0: 61.1, 1: 62.3}, {0: 60.1, 1: 61.3})):
        assert found.mean == pytest.approx(1)
        assert (found.low, found.high, found.p) == (None, None, None)
