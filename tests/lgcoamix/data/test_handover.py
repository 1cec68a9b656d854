"""Batches come from workers in shared memory that is used again, but never while anybody still looks at it."""

import gc
import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lgcoamix.data import EpochBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.handover import Handed, Pieces
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.sections import DataSettings
from tests.conftest import PROOF, ROOT


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
    pieces.shared = True
    return pieces


def send(pieces: Pieces, batch: Batch) -> Batch:
    return pickle.loads(ForkingPickler.dumps(pieces.hand_over(batch)))


def equal(found: Batch, expected: Batch) -> bool:
    pairs = [(getattr(found, name), getattr(expected, name)) for name in ("images", "maps", "labels", "samples")]
    return found.count == expected.count and all(torch.equal(*pair) for pair in pairs)


def test_a_batch_arrives_as_it_was(pieces):
    batch = made(pieces)
    assert isinstance(pieces.hand_over(batch), Handed)
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


def test_whoever_keeps_many_batches_gets_copies(pieces):
    kept = [send(pieces, made(pieces, value=value)) for value in range(20)]
    assert all(equal(batch, made(Pieces(), value=value)) for value, batch in enumerate(kept))
    assert len(pieces._pieces) == 8


def test_a_larger_batch_gets_larger_memory(pieces):
    for count in (2, 5, 3, 9):
        assert equal(send(pieces, made(pieces, count=count)), made(Pieces(), count=count))
    assert len(pieces._pieces) == 1


def test_a_batch_of_other_memory_is_pickled_as_it_is_and_leaves_the_piece_free(pieces):
    made(pieces)  # whose crops an augmentation replaced
    batch = made(Pieces())
    assert pieces.hand_over(batch) is batch
    send(pieces, made(pieces))
    assert len(pieces._pieces) == 1


def test_what_is_no_batch_is_pickled_as_it_is_and_its_memory_is_not_used_again(pieces):
    pairs = [made(pieces, value=1), made(pieces, value=2)]  # of a data set that joins two
    assert pieces.hand_over(pairs) is pairs
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


def test_a_data_set_that_keeps_its_last_batch_keeps_it_as_it_was(pieces):
    """Such as one that mixes each batch with the one before."""
    last = made(pieces)
    send(pieces, last)
    replaced = made(pieces)
    pieces.hand_over(made(Pieces()))
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
    assert pieces.hand_over((images, 3))[1] == 3
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
from lgcoamix import DataSettings, EpochBatches, SuperpixelDataset, View, make_loader

dataset = SuperpixelDataset(sys.argv[1], "train", View(DataSettings(image_size=32), train=True))
loader = make_loader(dataset, EpochBatches(len(dataset), 12, 0), workers=1)
for _ in loader:
    pass
"""


def test_a_program_that_holds_a_loader_ends_at_once(flowers_store):
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HOLDS, str(flowers_store)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begin < 18  # its workers would end 20 s after SIGTERM


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
