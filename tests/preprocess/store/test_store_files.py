"""The files of a store: HDF5 behind a user block that states the digest of the rest."""

import hashlib
import re
import shutil

import h5py
import pytest

from preprocess.store import Store
from tests.preprocess.conftest import HEADER_BYTES, all_files, build_here, open_plain

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@pytest.fixture(scope="module")
def files(small_store):
    return [small_store.path, *sorted(small_store.path.with_suffix(".shards").rglob("*.*"))]


def test_every_file_is_hdf5_behind_a_block_of_512_bytes(files):
    assert len(files) == 1 + (3 + 2) * 3  # the index; three shards of train and two of test in three columns
    for path in files:
        assert path.read_bytes()[HEADER_BYTES:].startswith(HDF5_SIGNATURE)
        with open_plain(path) as file:
            assert file.userblock_size == HEADER_BYTES


def test_every_user_block_states_the_digest_of_the_rest(files):
    for path in files:
        data = path.read_bytes()
        text = data[:HEADER_BYTES].rstrip(b"\0").decode("ascii")
        (stated,) = re.findall(r"^sha256: ([0-9a-f]{64})$", text, re.MULTILINE)
        assert stated == hashlib.sha256(data[HEADER_BYTES:]).hexdigest()


def test_the_index_states_size_and_digest_of_every_shard(small_store):
    named = set()
    for split in small_store.document["splits"].values():
        for column in split["columns"].values():
            for record in column["files"]:
                data = (small_store.path.parent / record["path"]).read_bytes()
                assert record["bytes"] == len(data)
                assert record["sha256"] == hashlib.sha256(data[HEADER_BYTES:]).hexdigest()
                named.add(record["path"])
    home = small_store.path.parent
    assert named == {path.relative_to(home).as_posix() for path in home.glob("*.shards/**/*.*")}


def test_two_builds_of_the_same_data_are_equal_byte_for_byte(noisy, built_once, tmp_path):
    # One with the command line, one in this process from a copy of the pictures whose files have other times.
    shutil.copytree(noisy, tmp_path / "copy", copy_function=shutil.copyfile)
    build_here(tmp_path / "copy", tmp_path / "again" / "pictures.h5")
    contents = []
    for home in (built_once.out.parent, tmp_path / "again"):
        files = all_files(home)
        contents.append({path: content for path, (content, _) in files.items() if path.parts[0] != "raw"})
    assert len(contents[0]) == 16
    assert contents[0] == contents[1]


def test_a_shard_that_h5py_copies_elsewhere_is_a_plain_hdf5_file(small_store, tmp_path):
    shard = min(small_store.path.with_suffix(".shards").glob("train/images/*"))
    (tmp_path / "plain.h5").write_bytes(shard.read_bytes()[HEADER_BYTES:])
    with h5py.File(tmp_path / "plain.h5") as plain:
        assert (plain["images"][()] == Store(small_store.path).images("train", range(4))).all()
