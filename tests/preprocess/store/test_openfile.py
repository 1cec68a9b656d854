"""Samples are read without HDF5: from any system, from the file that has the name now, and as checked as before."""

import os

import numpy as np
import pytest

from preprocess.errors import StoreError
from preprocess.store import Store, reader
from preprocess.store.pack import pack
from tests.preprocess.conftest import shard_files
from tests.preprocess.store.foreign import write_images

ORDER = [9, 0, 4, 4, 7]


def read(store: Store) -> list[np.ndarray]:
    return [store.images("train", ORDER), store.maps("train", 9, ORDER)]


def test_a_shard_is_opened_with_hdf5_once_and_its_samples_are_read_without(own_store, monkeypatch):
    expected = read(own_store)
    monkeypatch.setattr(own_store, "_open", None)
    np.testing.assert_equal(read(own_store), expected)


@pytest.mark.parametrize("packed", [False, True])
def test_it_works_without_preadv_and_with_reads_that_end_early(small_store, tmp_path, monkeypatch, packed):
    expected = read(small_store)
    if packed:
        pack(small_store, tmp_path / "packed.h5", lambda done: None)
    path = tmp_path / "packed.h5" if packed else small_store.path
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, parts, place: whole(file, [parts[0][:100]], place))
    np.testing.assert_equal(read(Store(path)), expected)
    monkeypatch.delattr(os, "preadv")  # Windows
    np.testing.assert_equal(read(Store(path)), expected)


def test_a_file_that_was_cut_since_is_refused_and_the_others_are_read(own_store):
    expected = own_store.images("train", range(10))
    shard = shard_files(own_store, "train", "images")[0]
    os.truncate(shard, 3000)
    with pytest.raises(StoreError, match=r"sample 3 \(.*\) of .*does not match its checksum; run: .*preprocess verify"):
        own_store.images("train", [3])
    np.testing.assert_array_equal(own_store.images("train", range(4, 10)), expected[4:])


def test_what_is_known_of_a_file_is_not_used_for_another_of_its_name(own_store, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_OPEN_SHARDS", 1)
    before = own_store.images("train", range(10))
    shard = shard_files(own_store, "train", "images")[0]
    aside = shard.with_suffix(".aside")
    aside.write_bytes(shard.read_bytes())

    def turn(parts: dict[str, list]) -> None:
        for values in parts.values():
            values[:] = values[::-1]

    write_images(Store(own_store.path), turn)  # as many bytes: only the stamp tells it
    shard.replace(shard.with_suffix(".other"))
    aside.replace(shard)
    np.testing.assert_array_equal(own_store.images("train", range(10)), before)
    shard.with_suffix(".other").replace(shard)
    np.testing.assert_array_equal(own_store.images("train", range(10)), before[[3, 2, 1, 0, *range(4, 10)]])


def test_what_is_known_of_shards_is_bounded(own_store, monkeypatch):
    expected = read(own_store)
    own_store.close()
    monkeypatch.setattr(reader, "_MOST_ROWS", 4)
    np.testing.assert_equal(read(own_store), expected)
    assert len(own_store._known) == 1


def test_images_and_maps_come_one_by_one(small_store):
    images = {place: image.copy() for place, image in small_store.each_image("train", ORDER)}
    maps = dict(small_store.each_map("train", 9, ORDER))
    assert set(images) == set(maps) == set(range(len(ORDER)))
    np.testing.assert_equal([[found[place] for place in range(5)] for found in (images, maps)], read(small_store))
    assert small_store.sizes("train", ORDER).tolist() == [[16, 16]] * 5
