"""Which samples come when, and which are held out."""

import numpy as np
import pytest

from lgcoamix.data import RunBatches, hold_out


def _places(batches: RunBatches) -> list[int]:
    return [place for batch in batches for _, place in batch]


@pytest.mark.parametrize(
    ("length", "size", "sizes"),
    [(12, 4, [4, 4, 4]), (14, 4, [4, 4, 4, 2]), (13, 4, [4, 4, 4]), (3, 8, [3]), (3, 1, [1, 1, 1])],
)
def test_training_leaves_out_only_a_last_batch_of_one(length, size, sizes):
    batches = RunBatches(length, size, seed=0)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)
    places = _places(batches)
    assert len(set(places)) == len(places) == sum(sizes)
    assert set(places) <= set(range(length))


@pytest.mark.parametrize("length", [1, 8, 9, 11])
def test_evaluation_sees_every_sample_once_and_in_order(length):
    batches = RunBatches(length, 4, seed=None)
    assert _places(batches) == list(range(length))
    assert len(batches) == -(-length // 4)


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {}
    for seed in (0, 1):
        batches = RunBatches(50, 8, seed)
        for epoch in (0, 1, 0):
            batches.epoch = epoch
            assert all(number == epoch for batch in batches for number, _ in batch)
            places = _places(batches)
            assert orders.setdefault((seed, epoch), places) == places
    assert len(set(map(tuple, orders.values()))) == 4
    assert all(places != sorted(places) for places in orders.values())


LABELS = np.repeat([0, 1, 2], [10, 4, 1])


@pytest.mark.parametrize(("share", "counts"), [(0.2, [2, 1, 0]), (0.5, [5, 2, 0]), (0.0, [0, 0, 0]), (0.9, [9, 4, 1])])
def test_held_out_samples_are_a_share_of_each_class(share, counts):
    labels = np.random.default_rng(0).permutation(LABELS)
    kept, held = hold_out(labels, share)
    assert np.bincount(labels[held], minlength=3).tolist() == counts
    assert sorted([*kept, *held]) == list(range(15))
    assert kept.tolist() == sorted(kept)


def test_the_held_out_samples_are_the_same_for_every_run():
    first, second = hold_out(LABELS, 0.4)[1], hold_out(LABELS, 0.4)[1]
    # As of version 1: a run of today must be validated on the same images by the program of tomorrow.
    assert hold_out(np.repeat([0, 1, 2], [10, 4, 1]), 0.4)[1].tolist() == [2, 4, 6, 9, 10, 11]
    assert first.tolist() == second.tolist()
    # Drawn, not the first ones of each class.
    assert first.tolist() != [0, 1, 2, 3, 10, 11]


@pytest.mark.parametrize(("length", "size", "dropped"), [(13, 4, 1), (12, 4, 0), (14, 4, 0), (3, 1, 0)])
def test_a_run_knows_how_many_samples_an_epoch_leaves_out(length, size, dropped):
    batches = RunBatches(length, size, seed=0)
    assert batches.dropped == dropped == length - len(_places(batches))
