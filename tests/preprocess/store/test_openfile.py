"""Samples are read without HDF5: from any system, from the file that has the name now, and as checked as before."""

import os
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from preprocess.errors import StoreError
from preprocess.store import Store, reader
from preprocess.store.format import HEADER_BYTES, seal
from preprocess.store.pack import pack
from preprocess.store.shard import Form, Shard
from preprocess.store.writer import MapShard
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


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_missing_when_it_is_opened_again_is_an_error_of_the_store(
    own_store, tmp_path, monkeypatch, packed
):
    monkeypatch.setattr(reader, "_MOST_OPEN_SHARDS", 1)
    if packed:
        pack(own_store, tmp_path / "packed.h5", lambda done: None)
    store = Store(tmp_path / "packed.h5") if packed else own_store
    expected = store.images("train", range(10))
    path = store.path if packed else shard_files(store, "train", "images")[0]
    if packed:
        store.close()
    path.rename(path.with_suffix(".aside"))
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"{path}.* cannot be read \(.*No such file"):
            store.images("train", [0])
    path.with_suffix(".aside").rename(path)
    np.testing.assert_array_equal(store.images("train", range(10)), expected)
    assert store._rows == 10


def test_an_index_of_chunks_that_lists_one_many_times_is_refused(own_store):
    """A node of such an index can hold another one 64 times, and so on: a small file would list billions."""

    def twice(path: Path) -> None:
        data = bytearray(path.read_bytes()[HEADER_BYTES:])
        node, entry = data.index(b"TREE\1") + 24, 8 + 4 * 8 + 8  # a key and a child
        data[node : node + 8 * entry] = data[node : node + entry] * 8
        data[node - 18 : node - 16] = struct.pack("<H", 8)
        path.write_bytes(seal(data, "shard")[0] + data)

    column = own_store.superpixels.columns[0]
    path = shard_files(own_store, "train", column)[0]
    twice(path)
    with pytest.raises(StoreError, match=r"maps: expected at most 4 chunks in a file of .* bytes, got more"):
        own_store.column_maps("train", column, [0])


VARIED = Form(None, None, "uint16")


def write_strips(path: Path) -> list[np.ndarray]:
    """Write a shard of maps of two strips and a square."""
    strips = [np.arange(np.prod(size), dtype=np.uint16).reshape(size) for size in ((600, 5), (5, 600), (256, 20))]
    shard = MapShard(3, (600, 600), "uint16", varied=True)
    for ids in strips:
        shard.add(ids)
    payload = shard.finish().payload
    path.write_bytes(seal(payload, "shard")[0] + payload)
    return strips


def test_of_maps_of_varied_sizes_only_their_own_tiles_are_known(tmp_path):
    strips = write_strips(tmp_path / "maps.h5")
    shard = Shard.open(tmp_path / "maps.h5", VARIED)
    np.testing.assert_equal([shard.read_map(row) for row in (2, 0, 1)], [strips[row] for row in (2, 0, 1)])
    assert shard.places == 3 + 3 + 1


def test_sizes_of_more_tiles_than_the_file_holds_take_no_memory(tmp_path):
    write_strips(tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        del file["maps"]
        file["sizes"][:2] = (1, 2**26), (2**26, 1)
        shape = {"shape": (3, 2**26, 2**26), "chunks": (1, 256, 256), "dtype": "uint16"}
        file.create_dataset("maps", **shape, compression="gzip")
    with pytest.raises(StoreError, match=r"maps: expected at most .* chunks in a file of .* bytes, got more"):
        Shard.open(tmp_path / "maps.h5", VARIED)
