"""Learning rates: the published tables at every boundary (METHODS 7, copied by hand), and cosine."""

import math
from itertools import pairwise

import pytest

from lgcoamix.settings.schedules import SCHEDULES, learning_rate

# (first epoch, divisor); the last epoch of a row is the one before the next row.
A = [(10, 1), (160, 2), (200, 4), (250, 8), (300, 10), (350, 20), (400, 50), (450, 100), (500, 500), (550, 1000)]
B = [
    *[(10, 1), (130, 2), (170, 4), (220, 8), (260, 10), (310, 20), (350, 40), (390, 80), (420, 100), (470, 200)],
    *[(500, 400), (530, 800), (560, 1000), (580, 5000)],
]
C = [
    *[(0, 1), (60, 2), (90, 4), (110, 8), (120, 10), (140, 20), (160, 40), (170, 80), (180, 100), (210, 200)],
    *[(230, 400), (250, 800), (270, 1000), (290, 5000)],
]
SNAPMIX = [(0, 1), (80, 10), (150, 100), (180, 1000)]
SCRATCH = [(0, 1), (150, 10), (225, 100), (270, 1000)]
TABLES = {
    "lgcoamix-a": (600, A),
    "lgcoamix-b": (600, B),
    "lgcoamix-c": (300, C),
    "snapmix": (200, SNAPMIX),
    "snapmix-scratch": (300, SCRATCH),
}
tables = pytest.mark.parametrize(("name", "length", "rows"), [(name, *table) for name, table in TABLES.items()])


@tables
def test_divisors_hold_from_their_first_epoch_to_the_next_boundary(name, length, rows):
    ends = [first for first, _ in rows[1:]] + [length]
    for (first, divisor), end in zip(rows, ends, strict=True):
        for epoch in (first, end - 1):
            assert learning_rate(name, 0.02, epoch, length) == pytest.approx(0.02 / divisor), epoch


@pytest.mark.parametrize("name", ["lgcoamix-a", "lgcoamix-b"])
def test_the_first_ten_epochs_of_a_and_b_rise_by_tenths(name):
    rates = [learning_rate(name, 1.0, epoch, 600) for epoch in range(10)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_c_starts_without_warm_up():
    assert learning_rate("lgcoamix-c", 0.001, 0, 300) == 0.001


@tables
def test_another_length_scales_the_boundaries(name, length, rows):
    for factor in (2, 0.5):
        epochs = int(length * factor)
        for first, divisor in rows[2:]:
            boundary = math.ceil(first * factor)
            assert learning_rate(name, 1.0, boundary, epochs) == pytest.approx(1 / divisor)
            assert learning_rate(name, 1.0, boundary - 1, epochs) > 1 / divisor * 1.01


def test_a_short_run_still_warms_up_and_cools_down():
    # 60 epochs: each stands for ten of the table, so the first is the warm-up and 16 is the first halving.
    rates = [learning_rate("lgcoamix-a", 1.0, epoch, 60) for epoch in (0, 1, 15, 16, 20, 55, 59)]
    assert rates == pytest.approx([0.1, 1, 1, 1 / 2, 1 / 4, 1 / 1000, 1 / 1000])


@pytest.mark.parametrize("epochs", [16, 100, 300])
def test_cosine_falls_from_the_base_to_near_zero(epochs):
    rates = [learning_rate("cosine", 0.1, epoch, epochs) for epoch in range(epochs)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.1)
    assert top <= 5
    assert all(later < earlier for earlier, later in pairwise(rates[top:]))
    assert 0 < rates[-1] < 0.1 * 3 / (epochs - 5) ** 2


def test_cosine_by_hand():
    # 40 epochs: two of warm-up (1/3, 2/3), then 38 of half a cosine; its middle is epoch 2 + 19.
    rates = [learning_rate("cosine", 1.0, epoch, 40) for epoch in (0, 1, 2, 21)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 0.5])
    assert learning_rate("cosine", 1.0, 0, 1) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_every_rate_lies_between_zero_and_the_base(name, epochs):
    assert all(0 < learning_rate(name, 0.3, epoch, epochs) <= 0.3 for epoch in range(epochs))


def test_the_warm_up_can_be_chosen():
    rates = [learning_rate("cosine", 1.0, epoch, 12, warmup=4) for epoch in (0, 3, 4, 8)]
    assert rates == pytest.approx([1 / 5, 4 / 5, 1, 0.5])
    assert learning_rate("cosine", 1.0, 0, 12, warmup=0) == 1.0
    # The published table has ten epochs of its own.
    assert learning_rate("lgcoamix-a", 1.0, 0, 600, warmup=0) == 1.0
    rates = [learning_rate("lgcoamix-a", 1.0, epoch, 600, warmup=20) for epoch in (0, 9, 19, 20, 160)]
    assert rates == pytest.approx([1 / 20, 1 / 2, 1, 1, 1 / 2])
    assert 0 < learning_rate("cosine", 1.0, 2, 3, warmup=9) <= 1  # longer than the run
