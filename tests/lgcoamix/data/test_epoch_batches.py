"""The order of samples in anybody's training loop: nothing repeats, nothing is lost, and it resumes."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from lgcoamix import EpochBatches
from lgcoamix.data import RunBatches
from lgcoamix.ops.seeding import derive_seed
from tests.conftest import PROOF


class Pairs(Dataset):
    """Each sample is its own index."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: tuple[int, int]) -> tuple[int, int]:
        return index


def _flat(batches: list) -> list[tuple[int, int]]:
    return [pair for batch in batches for pair in batch]


def _plain(batches: list) -> list[list[tuple[int, int]]]:
    return [[tuple(pair) for pair in zip(*(part.tolist() for part in batch), strict=True)] for batch in batches]


def test_each_pass_is_the_next_epoch_with_every_sample_once():
    batches = EpochBatches(23, 5, seed=4)
    passes = [_flat(list(batches)) for _ in range(3)]
    for epoch, pairs in enumerate(passes):
        assert {number for number, _ in pairs} == {epoch}
        assert sorted(position for _, position in pairs) == list(range(23))
    assert len({tuple(position for _, position in pairs) for pairs in passes}) == 3


def test_an_epoch_that_was_left_in_the_middle_is_over():
    batches = EpochBatches(20, 5, seed=0)
    assert [next(iter(batches))[0][0] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_of_torch_advances_it(workers):
    loader = DataLoader(Pairs(), batch_sampler=EpochBatches(12, 5, seed=0), num_workers=workers)
    wanted = EpochBatches(12, 5, seed=0)
    for epoch in (0, 1):
        assert _plain(list(loader)) == list(wanted.batches(epoch))


@pytest.mark.parametrize(("length", "size"), [(36, 11), (40, 8), (23, 4), (13, 4), (7, 100), (5, 5)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_processes_share_every_sample_and_take_the_same_number_of_steps(length, size, world):
    ranks = [list(EpochBatches(length, size, 4, rank, world)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(position for batches in ranks for _, position in _flat(batches)) == list(range(length))
    for shares in zip(*ranks, strict=True):
        assert min(map(len, shares)) >= 1
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert sum(map(len, shares)) < size + 2 * world


def test_the_order_is_that_of_our_own_runs():
    for epoch in (0, 3):
        assert list(EpochBatches(36, 8, seed=7).batches(epoch)) == list(RunBatches(36, 8, seed=7).at(epoch))


def test_the_order_never_changes():
    """A run of today goes on with the program of tomorrow."""
    order = torch.randperm(36, generator=torch.Generator().manual_seed(derive_seed("order", 7, 3))).tolist()
    assert _flat(EpochBatches(36, 8, seed=7).batches(3)) == [(3, place) for place in order]


def test_a_rest_that_is_too_small_for_all_joins_the_batch_before():
    assert [[len(batch) for batch in EpochBatches(9, 4, 0, rank, 2)] for rank in (0, 1)] == [[2, 2], [2, 3]]
    assert [[len(batch) for batch in EpochBatches(11, 4, 0, rank, 2)] for rank in (0, 1)] == [[2, 3], [2, 4]]
    assert [len(batch) for batch in EpochBatches(9, 4, 0)] == [4, 5]  # BatchNorm may not take a batch of one
    assert [len(batch) for batch in EpochBatches(10, 4, 0)] == [4, 4, 2]
    assert [len(batch) for batch in EpochBatches(9, 4, None)] == [4, 4, 1]  # an evaluation trains nothing


def test_evaluation_sees_every_sample_in_order_and_may_be_repeated(recwarn):
    batches = EpochBatches(5, 2, seed=None)
    assert list(batches) == list(batches) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert not recwarn


def test_an_epoch_can_be_chosen():
    batches = EpochBatches(12, 5, seed=0)
    batches.set_epoch(7)
    assert [pairs[0][0] for pairs in (next(iter(batches)), next(iter(batches)))] == [7, 8]
    assert batches.sampler.set_epoch == batches.set_epoch  # what Lightning and Accelerate call
    assert isinstance(batches, BatchSampler)


@pytest.mark.parametrize("epoch", [-1, 0.5, "1", None])
def test_an_epoch_is_a_number_from_0(epoch):
    with pytest.raises(ValueError, match="epoch must be an integer"):
        EpochBatches(12, 5, seed=0).set_epoch(epoch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((12, 0, 0), "batch_size must be an integer of at least 1, got 0"),
        ((12, 4.0, 0), "batch_size must be an integer of at least 1, got 4.0"),
        ((-1, 4, 0), "length must be an integer of at least 0, got -1"),
        ((12, True, 0), "batch_size must be an integer of at least 1, got True"),
        ((12, 4, "0"), "seed must be an integer, got '0'"),
        ((12, 4, 0.5), "seed must be an integer, got 0.5"),
        ((12, 4, False), "seed must be an integer, got False"),
        ((12, 4, 0, 2, 2), "rank must be below world, got rank 2 of 2"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EpochBatches(*arguments)


def test_an_empty_data_set_is_named():
    with pytest.raises(ValueError, match="length must be the number of samples, got 0; is the data set empty"):
        next(iter(EpochBatches(0, 4, 0)))


@pytest.mark.parametrize(("length", "size"), [(2, 8), (12, 2)])
def test_more_processes_than_samples_of_a_batch_are_refused(length, size):
    with pytest.raises(ValueError, match=f"3 processes cannot share {length} samples in batches of {size}"):
        next(iter(EpochBatches(length, size, 0, rank=0, world=3)))


def test_an_epoch_that_begins_again_is_reported():
    batches = EpochBatches(12, 5, seed=101)
    list(batches)
    batches.set_epoch(0)
    with pytest.warns(UserWarning, match="epoch 0 begins again"):
        list(batches)
    for _ in range(2):  # a new order in each epoch, the mistake of a loader built within the loop
        fresh = EpochBatches(12, 5, seed=101)
        with pytest.warns(UserWarning, match="Keep one EpochBatches for all epochs"):
            list(fresh)


def test_a_look_at_a_batch_before_training_is_no_mistake(recwarn):
    batches = EpochBatches(12, 5, seed=103)
    next(iter(batches))
    for epoch in range(2):
        batches.set_epoch(epoch)
        list(batches)
    assert not recwarn


def test_epochs_that_begin_again_and_again_are_reported_though_none_is_finished():
    for _ in range(2):
        next(iter(EpochBatches(12, 5, seed=104)))
    with pytest.warns(UserWarning, match="epoch 0 begins again"):
        next(iter(EpochBatches(12, 5, seed=104)))


def test_a_pass_that_goes_on_after_another_epoch_was_set_is_reported():
    batches = EpochBatches(23, 5, seed=105)
    loader = iter(DataLoader(Pairs(), batch_sampler=batches, num_workers=1))  # reads two batches ahead
    batches.set_epoch(2)  # as Lightning does after a checkpoint
    with pytest.warns(UserWarning, match="epoch 2 was set while workers already read epoch 0"):
        next(loader)


def test_the_next_epoch_may_be_set_while_a_pass_is_left(recwarn):
    batches = EpochBatches(23, 5, seed=106)
    left = iter(batches)
    next(left)
    batches.set_epoch(0)  # Lightning, at the start of the first epoch
    next(left)
    batches.set_epoch(1)  # and after its limit_train_batches
    assert len(list(batches)) == 5
    assert not recwarn


def test_whole_numbers_of_numpy_are_whole_numbers():
    batches = EpochBatches(np.int64(23), np.int32(5), np.int64(9), np.int64(1), np.int64(2))
    batches.set_epoch(np.int64(3))
    assert list(batches) == list(EpochBatches(23, 5, 9, 1, 2).batches(3))
    assert json.loads(json.dumps(batches.state_dict()))["seed"] == 9


def test_a_second_run_in_one_process_is_no_mistake(recwarn):
    for _ in range(2):
        batches = EpochBatches(12, 5, seed=102)
        for _ in range(3):
            list(batches)
    assert not recwarn


def test_orders_of_two_data_sets_are_no_mistake(recwarn):
    pair = [EpochBatches(12, 5, seed=107) for _ in range(2)]
    for _ in range(2):  # one after the other in each epoch
        for batches in pair:
            list(batches)
    assert not recwarn


def test_a_second_run_that_sets_its_epochs_is_no_mistake(recwarn):
    batches = EpochBatches(12, 5, seed=108)
    for _ in range(2):
        for epoch in range(3):
            batches.set_epoch(epoch)
            list(batches)
    assert not recwarn


def test_a_loader_that_replaces_another_is_reported_while_both_live():
    batches = [iter(DataLoader(Pairs(), batch_sampler=EpochBatches(12, 5, seed=109), num_workers=1))]
    list(batches[0])
    with pytest.warns(UserWarning, match="epoch 0 begins again"):
        batches.append(iter(DataLoader(Pairs(), batch_sampler=EpochBatches(12, 5, seed=109), num_workers=1)))


CUTS = [0, 1, 2, 3, 4, 5, 7, 9, 11, 13]  # batches, of 5 in an epoch
# Two workers take seconds to start: before an epoch, in it, at its end, and in the next.
RESUMED = [(cut, workers, "") for workers in (0, 2) for cut in CUTS if PROOF or workers == 0 or cut in (0, 3, 5, 7)]
ENDED = [(5, workers, after) for workers in (0, 2) for after in ("the loop has ended", "and set_epoch names the next")]


@pytest.mark.parametrize(("cut", "workers", "after"), RESUMED + ENDED)
def test_a_stateful_loader_resumes_exactly(cut, workers, after):
    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(Pairs(), batch_sampler=EpochBatches(23, 5, seed=9), num_workers=workers)

    whole, wanted = EpochBatches(23, 5, seed=9), []
    for epoch in range(4):
        wanted += whole.batches(epoch)
    first, seen = loader(), []
    while len(seen) < cut:
        for batch in first:
            seen += _plain([batch])
            if len(seen) == cut and not after:
                break
    state = json.loads(json.dumps(first.state_dict())) if workers == 0 else copy.deepcopy(first.state_dict())
    second = loader()
    second.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while len(seen) < len(wanted):
            if "set_epoch" in after:
                second.batch_sampler.set_epoch(len(seen) // 5)
            seen += _plain(list(second))
    assert seen == wanted


def test_the_state_survives_by_itself_and_belongs_to_its_order():
    batches = EpochBatches(23, 5, seed=9)
    iterator = iter(batches)
    head = [next(iterator), next(iterator)]
    other = pickle.loads(pickle.dumps(EpochBatches(23, 5, seed=9)))
    other.load_state_dict(batches.state_dict())
    assert head + list(other) == list(batches.batches(0))
    assert next(iter(other))[0][0] == 1
    with pytest.raises(ValueError, match="another order of samples: batch_size 5, not 6"):
        EpochBatches(23, 6, seed=9).load_state_dict(batches.state_dict())
    with pytest.raises(ValueError, match="no batch 9 in epoch 0; an epoch has 5"):
        other.load_state_dict({**batches.state_dict(), "batch": 9})
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0, got None"):
        other.load_state_dict({**batches.state_dict(), "epoch": None})


def test_set_epoch_keeps_the_place_within_the_epoch_that_was_loaded():
    batches = EpochBatches(23, 5, seed=9)
    batches.load_state_dict({**batches.state_dict(), "epoch": 2, "batch": 3})
    batches.set_epoch(2)  # as Lightning does at the start of each epoch
    assert list(batches) == list(EpochBatches(23, 5, seed=9).batches(2, 3))


def test_a_sampler_of_a_framework_brings_the_processes():
    sampler = torch.utils.data.DistributedSampler(Pairs(), num_replicas=2, rank=1)
    assert list(EpochBatches(20, 4, 0, sampler=sampler)) == list(EpochBatches(20, 4, 0, 1, 2).batches(0))
