"""Damage is refused on reading, and never read as data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from preprocess.errors import StoreError
from preprocess.store import Store
from tests.conftest import PROOF
from tests.preprocess.conftest import SMALL, build_here, flip, here, open_plain, shard_files


def place_of(path: Path, dataset: str, row: int) -> tuple[int, int]:
    """Offset in the file, and bytes, of what is stored for one sample."""
    with open_plain(path) as file:
        data = file[dataset]
        if data.chunks:
            chunk = data.id.get_chunk_info_by_coord((row,) + (0,) * (data.ndim - 1))
            return chunk.byte_offset, chunk.size
        return data.id.get_offset() + row * data.dtype.itemsize, data.dtype.itemsize


def test_a_flipped_bit_in_an_image_is_refused_and_spares_the_others(own_store):
    shard = shard_files(own_store, "train", "images")[1]
    expected = own_store.images("train", [4, 6, 7])
    own_store.close()
    offset, size = place_of(shard, "images", 1)
    assert size == 16 * 16 * 3
    flip(shard, offset + size // 2)
    with pytest.raises(StoreError, match=rf"sample 1 \(.*\) of .*{shard.name}.*preprocess verify"):
        own_store.images("train", range(10))
    np.testing.assert_array_equal(own_store.images("train", [4, 6, 7]), expected)


@pytest.mark.parametrize("dataset", ["labels", "keys", "checksums"])
def test_a_flipped_bit_beside_the_image_is_refused_with_it(own_store, dataset):
    shard = shard_files(own_store, "train", "images")[0]
    flip(shard, place_of(shard, dataset, 2)[0])
    with pytest.raises(StoreError, match=r"sample 2 \(.*\) of"):
        own_store.images("train", [2])


def test_a_map_is_compared_with_its_checksum(own_store):
    shard = shard_files(own_store, "train", "slic-c10-9")[1]
    expected = own_store.maps("train", 9, [7])
    own_store.close()
    flip(shard, place_of(shard, "checksums", 2)[0])
    with pytest.raises(StoreError, match=r"sample 2 of .* does not match its checksum"):
        own_store.maps("train", 9, [6])
    np.testing.assert_array_equal(own_store.maps("train", 9, [7]), expected)


def test_a_flipped_bit_in_a_jpeg_is_refused(noisy, tmp_path):
    store = build_here(noisy, tmp_path / "coded.h5", replace(SMALL, codec="jpeg"))
    shard = shard_files(store, "test", "images")[0]
    with open_plain(shard) as file:
        start, middle = file["codes"].id.get_offset(), int(file["offsets"][3:5].mean())
    flip(shard, start + middle)
    store.images("test", [0, 1, 2, 4, 5])
    with pytest.raises(StoreError, match=r"sample 3 \(.*\) of"):
        store.images("test", [3])


def test_a_flipped_bit_anywhere_in_a_map_is_refused(own_store):
    shard = shard_files(own_store, "train", "slic-c10-9")[1]
    sound = shard.read_bytes()
    expected = own_store.maps("train", 9, [6])
    offset, size = place_of(shard, "maps", 2)
    bits = range(0, 8 * size, 1 if PROOF else 7)
    read, failed = 0, {}
    for bit in bits:
        own_store.close()
        flip(shard, offset + bit // 8, bit % 8)
        try:
            # Some bits of a deflate stream are padding: a map that is still right is no damage.
            np.testing.assert_array_equal(own_store.maps("train", 9, [6]), expected)
            read += 1
        except StoreError:
            pass
        except Exception as error:
            failed[bit] = repr(error)
        shard.write_bytes(sound)
    assert not failed
    assert read < len(bits) / 10


DAMAGE = """
import json, sys
from pathlib import Path
import numpy as np
from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.inspect.verify import check_shard

def read(store):
    parts = [store.images("test", range(4)), store.maps("test", 9, range(4)), store.labels("test"), store.keys("test")]
    store.close()
    return parts

index, step, odd = Path(sys.argv[1]), int(sys.argv[2]), {}
expected = read(Store(index))
for shard in map(Path, sys.argv[3:]):
    sound = shard.read_bytes()
    store = Store(index)
    (this,) = [place for place in store.shards() if index.parent / store.record(*place)["path"] == shard]
    for offset in range(0, len(sound), step):
        where = f"{shard.parent.name}, byte {offset}"
        damaged = bytearray(sound)
        damaged[offset] ^= 1 << offset % 8
        shard.write_bytes(damaged)
        try:
            if not all(np.array_equal(*pair) for pair in zip(read(Store(index)), expected)):
                odd[f"reading, {where}"] = "damage was read as data"
        except StoreError:
            pass
        except Exception as error:
            odd[f"reading, {where}"] = repr(error)
        try:
            if not any(shard.name in line for line in check_shard(Store(index), this).lines):
                odd[f"verify, {where}"] = "damage was not found"
        except Exception as error:
            odd[f"verify, {where}"] = repr(error)
    shard.write_bytes(sound)
print(json.dumps(odd))
"""


def test_damage_anywhere_in_a_shard_is_refused_or_harmless_and_verify_names_the_shard(own_store, run):
    # In a process of its own: HDF5 is C, and meets structures here that it never wrote.
    shards = [shard_files(own_store, "test", column)[0] for column in ("images", "slic-c10-9")]
    done = run("-c", DAMAGE, own_store.path, 3 if PROOF else 67, *shards)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {}


def other_version(data: bytes) -> bytes:
    assert data.count(b"\nversion: 2\n") == 1
    return data.replace(b"\nversion: 2\n", b"\nversion: 3\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_version, r"format version 3, but this program reads version 2; rebuild the store"),
        (lambda data: data[:-10], "damaged"),
        (lambda data: data[:100], "not a store index"),
        (lambda data: data[:600] + bytes([data[600] ^ 1]) + data[601:], "damaged"),
        (lambda data: data[:300] + b"x" + data[301:], "damaged"),
        (lambda data: data.replace(b"store index", b"store shard"), "not a store index"),
        (lambda data: b"", "not a store index"),
        (lambda data: data[512:], "not a store index"),
    ],
    ids=["other version", "short", "stub", "flipped bit", "user block", "a shard", "empty", "plain HDF5"],
)
def test_an_unusable_index_is_refused_with_what_is_wrong(own_store, damage: Callable[[bytes], bytes], message: str):
    own_store.path.write_bytes(damage(own_store.path.read_bytes()))
    with pytest.raises(StoreError, match=message) as caught:
        Store(own_store.path)
    assert str(own_store.path) in str(caught.value)


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(StoreError, match=r"other\.h5 is not a store index"):
        Store(tmp_path / "other.h5")


def test_a_missing_index_says_how_to_make_one(tmp_path):
    with pytest.raises(StoreError, match=r"none\.h5 cannot be opened: No such file.*preprocess build"):
        Store(tmp_path / "none.h5")


def test_the_command_line_answers_an_index_of_another_version_in_one_line(own_store):
    own_store.path.write_bytes(other_version(own_store.path.read_bytes()))
    done = here("inspect", own_store.path)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "version 3" in done.stderr
