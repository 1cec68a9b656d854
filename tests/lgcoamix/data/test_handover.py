"""Batches come from workers in shared memory that is used again, but never while anybody still looks at it."""

import copy
import gc
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice, pairwise
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lgcoamix.data import EpochBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.handover import Handed, HandOver, Pieces
from lgcoamix.data.loader import worker_failures
from lgcoamix.errors import RunError
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.sections import DataSettings
from tests.conftest import PROOF, ROOT

LOADER = HandOver("ours")


def made(pieces: Pieces, count: int = 4, value: int = 7) -> Batch:
    """A batch as the data set makes it."""
    images, maps = pieces.arrays(((count, 6, 6, 3), np.dtype(np.uint8)), ((count, 6, 6), np.dtype(np.uint16)))
    images[...], maps[...] = value, 300 + value
    images[0, 1, 2] = 1, 2, 3
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2), torch.arange(count), torch.from_numpy(maps)
    return Batch(*tensors, 400, torch.arange(count) * 2)


@pytest.fixture
def pieces() -> Pieces:
    """As in a worker."""
    pieces = Pieces()
    pieces.share()
    return pieces


def sent(pieces: Pieces, batch: Batch) -> memoryview:
    return ForkingPickler.dumps(hand_over(pieces, batch))


def hand_over(pieces: Pieces, batch: object) -> object:
    return pieces.hand_over(batch, LOADER.loader)


def send(pieces: Pieces, batch: Batch) -> Batch:
    return pickle.loads(sent(pieces, batch))


def equal(found: Batch, expected: Batch) -> bool:
    pairs = [(getattr(found, name), getattr(expected, name)) for name in ("images", "maps", "labels", "samples")]
    return found.count == expected.count and all(torch.equal(*pair) for pair in pairs)


def test_a_batch_arrives_as_it_was(pieces):
    batch = made(pieces)
    assert isinstance(hand_over(pieces, batch), Handed)
    found = send(pieces, made(pieces))
    assert equal(found, made(Pieces()))
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert found.maps.dtype == torch.uint16


def test_memory_is_used_again_when_the_last_tensor_is_gone(pieces):
    found = send(pieces, made(pieces))
    part = found.images[1:2, 0]
    del found
    second = send(pieces, made(pieces, value=9))
    assert (part == 7).all()
    assert len(pieces._pieces) == 2
    del part, second
    gc.collect()
    send(pieces, made(pieces))
    send(pieces, made(pieces, count=2))
    assert len(pieces._pieces) == 2


def test_only_the_first_batch_in_a_piece_is_sent_with_the_memory(pieces):
    for value, with_memory in enumerate((True, False, False)):
        data = sent(pieces, made(pieces, value=value))
        assert (b"rebuild_storage" in data.tobytes()) == with_memory
        assert equal(pickle.loads(data), made(Pieces(), value=value))


def test_whoever_keeps_many_batches_gets_copies(pieces):
    kept = [send(pieces, made(pieces, value=value)) for value in range(20)]
    assert all(equal(batch, made(Pieces(), value=value)) for value, batch in enumerate(kept))
    assert len(pieces._pieces) == 8


def test_a_larger_batch_gets_larger_memory(pieces):
    for count in (2, 5, 3, 9):
        assert equal(send(pieces, made(pieces, count=count)), made(Pieces(), count=count))
    assert len(pieces._pieces) == len(LOADER.pieces) == 1


def test_a_batch_of_other_memory_is_pickled_as_it_is_and_leaves_the_piece_free(pieces):
    made(pieces)  # whose crops an augmentation replaced
    batch = made(Pieces())
    assert hand_over(pieces, batch) is batch
    send(pieces, made(pieces))
    assert len(pieces._pieces) == 1


def test_what_is_no_batch_is_pickled_as_it_is_and_its_memory_is_not_used_again(pieces):
    pairs = [made(pieces, value=1), made(pieces, value=2)]  # of a data set that joins two
    assert hand_over(pieces, pairs) is pairs
    send(pieces, made(pieces, value=3))
    assert all(equal(batch, made(Pieces(), value=value)) for value, batch in enumerate(pairs, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_the_training_process_keeps_the_batch_that_it_sees(pieces):
    found = send(pieces, made(pieces))
    (told, tell), (asked, ask) = os.pipe(), os.pipe()
    if not (child := os.fork()):
        os.read(told, 1)  # until it is replaced here
        os.write(ask, bytes([found.images[1:].eq(7).all()]))
        os._exit(0)
    del found
    later = [send(pieces, made(pieces, value=9)) for _ in range(3)]
    os.write(tell, b"!")
    assert os.read(asked, 1) == b"\1"
    os.waitpid(child, 0)
    for pipe in (told, tell, asked, ask):
        os.close(pipe)
    del later
    made(pieces)
    assert len(pieces._pieces) == 3  # without the one that was given up
    kept = [send(pieces, made(pieces, value=value)) for value in range(3)]
    assert all(equal(batch, made(Pieces(), value=value)) for value, batch in enumerate(kept))
    assert len(LOADER.pieces) == 3  # its number was used again


def test_a_data_set_that_keeps_its_last_batch_keeps_it_as_it_was(pieces):
    """Such as one that mixes each batch with the one before."""
    last = made(pieces)
    send(pieces, last)
    replaced = made(pieces)
    hand_over(pieces, made(Pieces()))
    assert (made(pieces, value=9).images[1:] == 9).all()
    assert equal(last, made(Pieces()))
    assert equal(replaced, made(Pieces()))


def test_a_batch_that_is_handed_over_twice_arrives_twice(pieces):
    batch = made(pieces)
    first, second = send(pieces, batch), send(pieces, batch)
    first.images.zero_()
    assert equal(second, made(Pieces()))


def test_batches_that_failed_take_no_memory(pieces):
    for _ in range(12):
        made(pieces)
    assert len(pieces._pieces) == 1


def test_what_is_no_batch_is_handed_over_as_it_is(pieces):
    images = made(pieces).images
    assert hand_over(pieces, (images, 3))[1] == 3
    batch = made(pieces)
    labels = torch.rand(4, 5, requires_grad=True)
    assert send(pieces, replace(batch, labels=labels)).labels.equal(labels)


def test_modes_of_torch_change_nothing(pieces):
    found = send(pieces, made(pieces))
    with FakeTensorMode():
        del found
    assert pieces._pieces[0].is_free
    with torch.device("meta"):
        assert pieces.arrays(((1000,), np.dtype(np.uint8)))[0].shape == (1000,)


@pytest.fixture
def dataset(flowers_store) -> SuperpixelDataset:
    return SuperpixelDataset(flowers_store, "train", View(DataSettings(image_size=32), train=True), seed=3)


def test_an_epoch_of_workers_is_that_of_this_process_even_if_all_of_it_is_kept(dataset):
    alone, kept = (list(make_loader(dataset, EpochBatches(36, 2, seed=3), workers)) for workers in (0, 1))
    assert len(kept) == 18
    assert all(equal(*pair) for pair in zip(kept, alone, strict=True))


def here(dataset: SuperpixelDataset, epoch: int, batch: Batch) -> Batch:
    """The same samples, read in this process."""
    return dataset.__getitems__([(epoch, sample) for sample in batch.samples.tolist()])


def mapped() -> set[str]:
    """Shared memory of torch that this process has mapped, and where."""
    return {line for line in Path("/proc/self/maps").read_text().splitlines() if "/torch_" in line}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_memory_stays_mapped_until_the_loader_is_gone(dataset):
    before, seen = mapped(), [set()]
    loader = make_loader(dataset, EpochBatches(36, 2, seed=11), workers=1)
    for _ in range(3):
        for batch in loader:
            del batch
            seen.append(mapped() - before)
    assert len(seen) == 1 + 54
    assert all(earlier <= later for earlier, later in pairwise(seen))
    assert 1 <= len(seen[-1]) <= 8
    del loader
    gc.collect()
    assert mapped() <= before


def test_a_batch_stays_as_it_is_while_anything_of_it_is_kept(dataset):
    chance, kept = random.Random(5), []
    loader = make_loader(dataset, EpochBatches(36, 2, seed=12), workers=2)
    for epoch in range(40 if PROOF else 5):
        for batch in islice(loader, chance.randint(4, 18)):
            expected = here(dataset, epoch, batch)
            assert equal(batch, expected)
            part = chance.choice(
                [lambda batch: batch.images, lambda batch: batch.maps[1:], lambda batch: batch.images[0, 2]]
            )
            kept.append((part(batch), part(expected)))
            chance.shuffle(kept)
            while len(kept) > chance.randint(0, 20):
                assert torch.equal(*kept.pop())
    assert all(torch.equal(*pair) for pair in kept)


def test_loaders_side_by_side_keep_their_batches_apart(dataset):
    first, second = (make_loader(dataset, EpochBatches(36, 2, seed=seed), workers=1) for seed in (16, 17))
    for pair in zip(first, second, strict=True):
        assert all(equal(batch, here(dataset, 0, batch)) for batch in pair)


def test_an_iterator_and_its_batches_outlive_their_loader(dataset):
    iterator = iter(make_loader(dataset, EpochBatches(36, 2, seed=13), workers=1))
    kept, later = next(iterator), [len(batch) for batch in iterator]
    del iterator
    gc.collect()
    assert later == [2] * 17
    assert equal(kept, here(dataset, 0, kept))


def test_a_batch_outlives_a_worker_that_is_killed(dataset):
    before = set(active_children())
    iterator = iter(make_loader(dataset, EpochBatches(36, 2, seed=14), workers=1))
    kept = list(islice(iterator, 5))
    (worker,) = set(active_children()) - before
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RunError, match="a DataLoader worker died"), worker_failures():
        list(iterator)
    assert all(equal(batch, here(dataset, 0, batch)) for batch in kept)


def test_a_copy_of_a_loader_finds_the_memory_of_its_workers():
    assert copy.deepcopy(LOADER) is pickle.loads(pickle.dumps(LOADER)) is LOADER


def test_a_worker_keeps_no_memory_of_other_loaders(pieces):
    send(pieces, made(pieces))
    assert LOADER.pieces
    Pieces().share()
    assert not LOADER.pieces


def test_workers_find_in_memory_what_they_need(dataset, monkeypatch):
    dataset.prepare()
    assert not dataset.store._known  # nothing is open when they start
    state = torch.get_rng_state()
    monkeypatch.setattr(SuperpixelDataset, "draw", None)  # fails
    dataset.prepare()
    assert torch.equal(state, torch.get_rng_state())


class Prepared(torch.utils.data.Dataset):
    def prepare(self, root: str) -> None:
        """Of a user, for something else."""


def test_a_method_of_a_user_that_has_the_same_name_is_left_alone():
    make_loader(Prepared(), EpochBatches(4, 2, seed=3), workers=1)


HOLDS = """
import sys
import time
from lgcoamix import DataSettings, EpochBatches, SuperpixelDataset, View, make_loader

dataset = SuperpixelDataset(sys.argv[1], "train", View(DataSettings(image_size=32), train=True))
loader = make_loader(dataset, EpochBatches(len(dataset), 12, 0), workers=1)
for _ in loader:
    pass
print(time.monotonic())
"""


def test_a_program_that_holds_a_loader_ends_at_once(flowers_store):
    done = subprocess.run(
        [sys.executable, "-c", HOLDS, str(flowers_store)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - float(done.stdout) < 18  # its workers would end 20 s after SIGTERM


LOADS = """
import sys
import time
from lgcoamix.data import EpochBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.loader import worker_failures
from lgcoamix.errors import RunError
from lgcoamix.settings.sections import DataSettings

dataset = SuperpixelDataset(sys.argv[1], "train", View(DataSettings(image_size=64), train=True))
try:
    with worker_failures():
        for _ in make_loader(dataset, EpochBatches(len(dataset), 36, 0), workers=1):
            pass
except RunError as error:
    print(error, time.monotonic())
"""


@pytest.mark.skipif(not PROOF, reason="make proof: it imports torch anew")
def test_a_full_shared_memory_is_an_error_with_a_remedy(flowers_store):
    if shutil.which("unshare") is None:
        pytest.skip("needs the command unshare")
    mounted = 'mount -t tmpfs -o size=64k none /dev/shm || exit 77; exec timeout 60 "$@"'
    command = ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-c", LOADS, str(flowers_store)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("unshare -rm cannot mount a tmpfs here")
    assert done.returncode == 0, done.stderr
    said, _, told = done.stdout.rstrip().rpartition(" ")
    assert said.endswith("), because /dev/shm is full: rerun with --workers 0")
    assert time.monotonic() - float(told) < 18  # its workers would end 20 s after SIGTERM
