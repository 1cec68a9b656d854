"""``verify``: names what is damaged."""

import pytest
from click.testing import Result

from preprocess.store import Store
from tests.preprocess.conftest import HEADER_BYTES, flip, here, open_plain, shard_files


def verify(store: Store) -> Result:
    return here("verify", store.path, "--jobs", "1")


def test_a_sound_store_is_called_sound(small_store, run):
    done = run("-m", "preprocess", "verify", small_store.path, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{small_store.path} is intact: 15 shards match their digests\n"


@pytest.mark.parametrize(("column", "dataset"), [("images", "images"), ("slic-c10-9", "maps")])
def test_a_flipped_bit_is_found_with_its_shard_and_sample(own_store, column, dataset):
    shard = shard_files(own_store, "train", column)[1]
    with open_plain(shard) as file:
        chunk = file[dataset].id.get_chunk_info(2)
    flip(shard, chunk.byte_offset + chunk.size // 2)
    done = verify(own_store)
    assert done.exit_code == 1
    assert f"{shard} is damaged" in done.stderr
    assert f"{shard}: sample 2 is damaged" in done.stderr
    assert "sample 1" not in done.stderr
    assert f"repair it with python -m lgcoamix preprocess verify {own_store.path} --repair" in done.stderr
    others = {path.name for path in shard.parent.parent.rglob("*.h5")} - {shard.name}
    assert not any(name in done.stderr for name in others)


def test_damage_in_several_shards_is_all_named(own_store):
    in_block, cut, missing = (
        shard_files(own_store, "test", name)[0] for name in ("images", "slic-c10-4", "slic-c10-9")
    )
    flip(in_block, 300)
    cut.write_bytes(cut.read_bytes()[:-50])
    missing.unlink()
    done = verify(own_store)
    assert done.exit_code == 1
    for shard, what in (
        (in_block, f"damaged in its first {HEADER_BYTES} bytes"),
        (cut, "damaged"),
        (missing, "No such"),
    ):
        assert any(str(shard) in line and what in line for line in done.stderr.splitlines())
    assert f"Error: {own_store.path} is damaged, see above" in done.stderr


def test_a_whole_shard_of_another_store_is_found(own_store):
    first, second = shard_files(own_store, "train", "slic-c10-4")[:2]
    first.write_bytes(second.read_bytes())
    done = verify(own_store)
    assert done.exit_code == 1
    assert f"{first} is not the shard that the index lists" in done.stderr
