"""Random numbers that need no state: published values, independence, uniformity."""

import numpy as np
import pytest
from scipy import stats

from lgcoamix.ops.seeding import derive_seed, splitmix64, uniforms


def test_the_stream_is_splitmix64():
    # The first outputs for the seed 1234567, as published with the algorithm's reference code.
    expected = [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
        *(4593380528125082431, 16408922859458223821),
    ]
    found = splitmix64(np.array([1234567], np.uint64), np.arange(1, 6, dtype=np.uint64))
    assert found.tolist() == expected


def test_a_sample_has_its_numbers_whatever_is_drawn_beside_it():
    epochs, samples = np.array([0, 0, 3, 3, 0]), np.array([5, 1_281_166, 5, 0, 7])
    together = uniforms("window", 2, epochs, samples, 23)
    assert together.shape == (5, 23)
    for row in range(5):
        alone = uniforms("window", 2, epochs[[row]], samples[[row]], 23)
        np.testing.assert_array_equal(together[[row]], alone)
        np.testing.assert_array_equal(uniforms("window", 2, epochs[[row]], samples[[row]], 3), alone[:, :3])
    others = [
        uniforms("scale", 2, epochs, samples, 23),
        uniforms("window", 3, epochs, samples, 23),
        uniforms("window", 2, epochs + 1, samples, 23),
        uniforms("window", 2, epochs, samples + 1, 23),
    ]
    assert all(not (other == together).any() for other in others)
    assert len(np.unique(together)) == together.size
    first = splitmix64(np.array([derive_seed("window", 2, 3)], np.uint64), np.arange(1, 24, dtype=np.uint64))
    np.testing.assert_array_equal(together[3], (first >> np.uint64(11)) / 2.0**53)  # sample 0 of epoch 3


def test_the_numbers_are_uniform_and_independent():
    draws = uniforms("window", 0, np.zeros(4000, int), np.arange(4000), 23)
    assert draws.min() >= 0
    assert draws.max() < 1
    for column in draws.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlations = np.corrcoef(np.concatenate([draws[:-1].T, draws[1:, :1].T]))
    np.fill_diagonal(correlations, 0)
    assert np.abs(correlations).max() < 5 / 4000**0.5


def test_more_numbers_than_a_sample_has_are_refused():
    with pytest.raises(ValueError, match="at most 64, got 65"):
        uniforms("window", 0, np.array([0]), np.array([0]), 65)
