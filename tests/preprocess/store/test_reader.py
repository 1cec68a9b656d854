"""The reader: any batch, from any place, within few open files."""

import pickle
import resource
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.preprocess.conftest import SMALL, build_here, copy_store


def test_a_batch_in_any_order_with_repeats_equals_single_reads(small_store):
    order = np.random.default_rng(0).integers(0, 10, 40).tolist()
    assert sorted(set(order)) == list(range(10))
    one_by_one = [small_store.images("train", [index])[0] for index in order]
    np.testing.assert_array_equal(small_store.images("train", order), one_by_one)
    one_by_one = [small_store.maps("train", 9, [index])[0] for index in order]
    np.testing.assert_array_equal(small_store.maps("train", 9, order), one_by_one)


def test_an_empty_batch_has_the_shape_of_a_batch(small_store):
    assert small_store.images("test", []).shape == (0, 16, 16, 3)
    assert small_store.maps("test", 4, []).shape == (0, 16, 16)


def test_a_copy_by_pickle_reads_the_same(small_store):
    before = small_store.images("train", [9, 0])
    copy = pickle.loads(pickle.dumps(small_store))
    np.testing.assert_array_equal(copy.images("train", [9, 0]), before)
    assert copy.keys("test") == small_store.keys("test")


def test_a_closed_store_opens_again_by_itself(small_store):
    before = small_store.maps("test", 4, [5, 2])
    small_store.close()
    np.testing.assert_array_equal(small_store.maps("test", 4, [5, 2]), before)


def test_an_index_that_moved_with_its_shards_still_opens(own_store, small_store, tmp_path):
    moved = tmp_path / "else" / "where"
    moved.mkdir(parents=True)
    own_store.close()
    own_store.path.rename(moved / "renamed.h5")
    own_store.path.with_suffix(".shards").rename(moved / "small.shards")
    store = Store(moved / "renamed.h5")
    np.testing.assert_array_equal(store.images("train", range(10)), small_store.images("train", range(10)))
    np.testing.assert_array_equal(store.maps("test", 9, range(6)), small_store.maps("test", 9, range(6)))


def test_a_path_given_as_text_opens_from_the_working_folder(small_store, tmp_path, monkeypatch):
    copy_store(small_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Store("small.h5").keys("test")[0] == "test/a/0.png"


def test_threads_may_share_a_store(own_store):
    expected = own_store.images("train", range(10))
    own_store.close()
    wrong = []

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(10)
        for _ in range(20):
            if not np.array_equal(own_store.images("train", order), expected[order]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_shards_need_few_open_files(noisy, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train").symlink_to(noisy / "train")
    scales = tuple(Scale(count, 1 / 10) for count in range(4, 14))
    store = build_here(tmp_path / "raw", tmp_path / "many.h5", replace(SMALL, scales=scales, size=8, shard_size=1))
    assert len(list(store.path.with_suffix(".shards").rglob("*.h5"))) == 110
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 60, limits[1]))
    try:
        for scale in scales:
            store.maps("train", scale.segments, range(10))
        assert len(store.keys("train")) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        store.close()


def test_an_unknown_split_is_named_with_those_that_exist(small_store):
    for read in (small_store.labels, small_store.keys, lambda split: small_store.images(split, [0])):
        with pytest.raises(StoreError, match=r"no split 'val'.*train, test"):
            read("val")


def test_an_unknown_segment_count_is_named_with_those_that_exist(small_store):
    with pytest.raises(StoreError, match=r"no maps of 7 segments.*4, 9"):
        small_store.maps("train", 7, [0])


@pytest.mark.parametrize("index", [-1, 6])
def test_a_sample_number_out_of_range_is_refused_with_the_range(small_store, index):
    for read in (lambda: small_store.images("test", [0, index]), lambda: small_store.maps("test", 4, [index])):
        with pytest.raises(IndexError, match=rf"of test from 0 to 5, got .*{index}"):
            read()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([False, True]), r"\(n,\) integers, got \(2,\) bool; pass numpy.flatnonzero\(mask\)"),
        ([1.7], r"got \(1,\) float64"),
        ([[0, 1]], r"got \(1, 2\) int64"),
    ],
)
def test_what_is_no_list_of_sample_numbers_is_refused(small_store, indices, message):
    for read in (lambda: small_store.images("test", indices), lambda: small_store.maps("test", 4, indices)):
        with pytest.raises(IndexError, match=message):
            read()


def test_a_missing_shard_is_named(own_store):
    (shard,) = own_store.path.with_suffix(".shards").glob("test/slic-c10-4/00001-*.h5")
    shard.unlink()
    own_store.maps("test", 4, range(4))
    with pytest.raises(StoreError, match=shard.name):
        own_store.maps("test", 4, [4])


def test_a_split_without_images_is_none_to_evaluate_on(noisy, tmp_path):
    (tmp_path / "raw").mkdir()
    for split, name in (("train", "train"), ("test", "val")):
        (tmp_path / "raw" / name).symlink_to(noisy / split)
    store = build_here(tmp_path / "raw", tmp_path / "x.h5", empty=("test",))
    assert (len(store.splits["test"]), len(store.splits["val"])) == (0, 6)
    assert Store(tmp_path / "x.h5").test_split == "val"
