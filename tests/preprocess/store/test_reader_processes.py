"""A store that was read in the parent reads in forked and in spawned children, packed or not."""

import multiprocessing
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pytest

from preprocess.store import Store
from preprocess.store.pack import pack

ORDER = [9, 0, 4, 4]


def read_all(store: Store) -> list:
    return [store.images("train", ORDER), store.maps("train", 9, ORDER), store.labels("train"), store.keys("train")]


def answer(stores: list[Store], end: Connection) -> None:
    end.send([np.asarray(part) for store in stores for part in read_all(store)])
    for store in stores:
        store.close()
    end.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_reads_what_the_parent_reads(own_store, tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    pack(own_store, tmp_path / "packed.h5", lambda done: None)
    stores = [own_store, Store(tmp_path / "packed.h5")]
    expected = [part for store in stores for part in read_all(store)]
    context = multiprocessing.get_context(method)
    ends = [context.Pipe(duplex=False) for _ in range(2)]
    children = [context.Process(target=answer, args=(stores, sender)) for _, sender in ends]
    for child, (receiver, sender) in zip(children, ends, strict=True):
        child.start()
        sender.close()
        for found, wanted in zip(receiver.recv(), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        child.join()
        receiver.close()
        assert child.exitcode == 0
    again = [part for store in stores for part in read_all(store)]
    for found, wanted in zip(again, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_child_reads_that_is_forked_while_a_thread_reads(own_store):
    expected, held, over = read_all(own_store), threading.Event(), threading.Event()

    def hold() -> None:
        with own_store._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=([own_store], sender))
    child.start()
    came = receiver.poll(10)
    child.kill() if not came else child.join()
    over.set()
    thread.join()
    assert came
    np.testing.assert_equal(receiver.recv(), expected)


def in_a_fork(look: Callable[[], object]) -> object:
    """What a fork of this process sees."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(look()))
    child.start()
    assert receiver.poll(10)
    found = receiver.recv()
    child.join()
    return found


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("packed", [False, True])
def test_a_child_keeps_nothing_of_its_parent_but_what_hdf5_opened(own_store, tmp_path, packed):
    if packed:
        pack(own_store, tmp_path / "packed.h5", lambda done: None)
    store = Store(tmp_path / "packed.h5") if packed else own_store
    expected = read_all(store)
    shard = store.open_shard("train", "images", 0)
    group, gone = weakref.ref(shard.group), [weakref.ref(known) for known, _ in store._known.values()]
    gone += map(weakref.ref, store._files)
    del shard
    assert in_a_fork(lambda: (bool(group()), [bool(each()) for each in gone])) == (True, [False] * len(gone))
    assert len(gone) > 3
    np.testing.assert_equal(read_all(store), expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_the_first_readers_of_a_child_are_threads_that_share_its_lock(own_store):
    read_all(own_store)
    lock = own_store._lock
    # Before any of them reads: whoever left the parent later would forget what another has opened.
    assert in_a_fork(lambda: (own_store._lock is lock, len(own_store._known), len(own_store._shards))) == (False, 0, 0)
