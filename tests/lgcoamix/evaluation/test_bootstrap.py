"""Bootstrap intervals: against a slow loop over the same draws, against scipy.stats, and on cases known by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from lgcoamix.evaluation import bootstrap as ours
from lgcoamix.evaluation.bootstrap import intervals, percentiles, resampled_means
from lgcoamix.evaluation.metrics import METRICS, measure, parts_of
from lgcoamix.ops.seeding import derive_seed


def logits_of(n: int, N: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, N, generator=generator)
    labels = torch.randint(N, (n,), generator=generator)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def test_means_are_those_of_a_slow_loop_over_the_same_draws():
    columns = np.random.default_rng(1).random((7, 3))
    generator = np.random.default_rng(derive_seed("bootstrap", 5))
    for mean in resampled_means(columns, seed=5, resamples=20):
        drawn = [columns[place] for place in generator.integers(0, 7, 7)]
        assert mean == pytest.approx(sum(drawn) / 7, rel=1e-14)


def test_the_memory_at_hand_changes_nothing(monkeypatch):
    columns = np.random.default_rng(2).random((50, 2))
    whole = resampled_means(columns, 0, 100)
    monkeypatch.setattr(ours, "_ROOM", 170)  # three resamples at a time
    np.testing.assert_allclose(resampled_means(columns, 0, 100), whole, rtol=1e-14)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_intervals_are_those_of_scipy(share):
    right = (np.arange(400) < 400 * share).astype(float)
    found = bootstrap((right,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0))
    low, high = intervals({"top1": right[:, None]}, seed=0)["top1"]
    # An end of 2,000 resamples is itself uncertain by 0.06 standard errors, and the mean by a step of 1/400.
    near = 0.3 * found.standard_error
    assert (low, high) == pytest.approx(tuple(found.confidence_interval), abs=near)


def test_every_figure_is_made_of_its_parts():
    logits, labels = logits_of(200, 8)
    figures = measure(logits, labels)
    parts = parts_of(logits, labels, figures)
    assert parts.keys() == METRICS.keys()
    for name, columns in parts.items():
        assert np.abs(columns.mean(axis=0)).sum() == pytest.approx(figures[name], rel=1e-12)


def test_every_interval_is_that_of_the_metric_itself():
    logits, labels = logits_of(60, 8)
    found = intervals(parts_of(logits, labels, measure(logits, labels)), seed=3)
    generator = np.random.default_rng(derive_seed("bootstrap", 3))
    drawn = [torch.from_numpy(generator.integers(0, 60, 60)) for _ in range(ours.RESAMPLES)]
    for name in ("top1", "calibration_error"):
        values = np.array([METRICS[name].compute(logits[places], labels[places]) for places in drawn])
        assert found[name] == pytest.approx(percentiles(values), rel=1e-9)


def test_what_is_undefined_has_no_interval():
    logits, labels = logits_of(20, 3)
    assert "top5" not in parts_of(logits, labels, measure(logits, labels))
    assert intervals({}, 0) == {}


def test_images_that_are_all_right_or_all_wrong_leave_a_doubt():
    # Wilson's interval of 0 of n begins at 0 and ends at z² / (n + z²), with z = 1.959964; n of n is its mirror image.
    reach = 100 * 1.959964**2 / (9 + 1.959964**2)
    found = intervals({"right": np.full((9, 1), 100.0), "wrong": np.zeros((9, 1)), "loss": np.full((9, 1), 2.5)}, 0)
    assert found["right"] == pytest.approx((100 - reach, 100), rel=1e-6)
    assert found["wrong"] == pytest.approx((0, reach), rel=1e-6)
    assert found["loss"] == (2.5, 2.5)


def test_the_ends_are_percentiles():
    assert percentiles(np.arange(1001.0)) == pytest.approx((25, 975))
