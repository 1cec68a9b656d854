"""``pack``: a whole store in one file that opens like a store."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lgcoamix.cli import main
from preprocess.store import Store
from tests.preprocess.conftest import Built, all_files, build_command, flip, here, open_plain

TRAIN = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "16", "--batch-size", "4", "--epochs", "1")
TRAIN += ("--no-pictures", "--no-tensorboard")
KINDS = {
    "raw": (),
    "jpeg": ("--codec", "jpeg"),
    "varied": ("--resize", "short", "--codec", "png"),
    "two sets": ("--algorithm", "grid"),
}


def build_here(root: Path, out: Path, *options: str) -> None:
    done = here(*build_command(root, out, *options)[2:])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def packed(built_once: Built, tmp_path_factory: pytest.TempPathFactory, run) -> Path:
    """The small store, packed by the real command, far from its shards."""
    out = tmp_path_factory.mktemp("packed") / "one.h5"
    done = run("-m", "preprocess", "pack", built_once.out, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {out}: ")
    return out


def assert_equal_content(left: Store, right: Store) -> None:
    assert left.document == right.document
    assert left.content_keys == right.content_keys
    for split, layout in left.splits.items():
        assert left.keys(split) == right.keys(split)
        np.testing.assert_array_equal(left.labels(split), right.labels(split))
        for row in range(len(layout)):
            np.testing.assert_array_equal(left.images(split, [row])[0], right.images(split, [row])[0])
            for column in layout.paths.keys() - {"images"}:
                pair = (store.column_maps(split, column, [row])[0] for store in (left, right))
                np.testing.assert_array_equal(*pair)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_pack_opens_like_the_store(options, noisy, tmp_path):
    store, out = tmp_path / "x.h5", tmp_path / "elsewhere" / "pack.h5"
    build_here(noisy, store, *(options if "grid" not in options else ()))
    build_here(noisy, store, *options)
    assert here("pack", store, out).exit_code == 0
    for name in Store(store).superpixel_sets:
        assert_equal_content(Store(store, name), Store(out, name))
    assert_equal_content(Store(store), pickle.loads(pickle.dumps(Store(out))))
    assert here("diff", store, out).exit_code == 0
    sound = here("verify", out)
    assert sound.exit_code == 0, sound.output
    assert "is intact: it matches its digest" in sound.output


def test_a_pack_needs_no_shards_and_no_name(packed, built, tmp_path):
    moved = tmp_path / "another name.h5"
    shutil.copy(packed, moved)
    wanted = Store(packed)
    shutil.rmtree(built.out.parent)
    assert [path.name for path in tmp_path.iterdir()] == ["another name.h5"]
    assert_equal_content(Store(moved), wanted)
    for command in (("verify", moved), ("inspect", moved), ("diff", moved, packed)):
        done = here(*command)
        assert done.exit_code == 0, done.stderr


def chunks(group, name: str) -> list[bytes]:
    data = group[name]
    return [data.id.read_direct_chunk(data.id.get_chunk_info(row).chunk_offset) for row in range(data.shape[0])]


def test_maps_are_copied_as_they_are_compressed(packed, built_once):
    store = Store(built_once.out)
    total = 0
    with open_plain(packed) as pack:
        for path, record in store.records():
            total += record["bytes"]
            if "/images/" in path:
                continue
            with open_plain(built_once.out.parent / path) as shard:
                assert chunks(pack[path], "maps") == chunks(shard, "maps")
    assert packed.stat().st_size <= 1.1 * total


def test_training_runs_on_a_pack(packed, tmp_path):
    options = ("--shards", packed, *TRAIN, "--workers", "2", "--device", "cpu", "--out", tmp_path / "run")
    done = CliRunner().invoke(main, ["train", *map(str, options)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "results.json").is_file()


def test_an_updated_store_is_packed_as_it_is(built, tmp_path):
    (built.root / "train" / "a" / "1.png").write_bytes((built.root / "test" / "b" / "0.png").read_bytes())
    (built.root / "train" / "b" / "0.png").unlink()
    build_here(built.root, built.out, "--update")
    store, out = Store(built.out), tmp_path / "pack.h5"
    assert store.splits["train"].places is not None
    assert here("pack", built.out, out).exit_code == 0
    assert_equal_content(store, Store(out))
    build_here(built.root, tmp_path / "fresh.h5")
    assert here("diff", out, tmp_path / "fresh.h5").exit_code == 0
    assert here("verify", out).exit_code == 0


def test_a_damaged_pack_is_called_damaged(packed, run, tmp_path):
    own = tmp_path / "own.h5"
    shutil.copy(packed, own)
    with open_plain(own) as file:
        (path,) = (name for name, _ in Store(packed).records() if "train/slic-c10-9/00001" in name)
        chunk = file[path]["maps"].id.get_chunk_info(2)
    flip(own, chunk.byte_offset + chunk.size // 2)
    done = run("-m", "preprocess", "verify", own)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{path} in {own}: sample 2 is damaged" in done.stderr
    assert "replace it with an intact copy" in done.stderr


def assert_refused(done, message: str) -> None:
    assert done.exit_code in (1, 2)
    assert done.stderr.count("Error: ") == 1
    assert message in " ".join(done.stderr.split())


def test_a_file_in_place_is_never_overwritten(built, tmp_path):
    out = tmp_path / "mine.h5"
    out.write_text("mine")
    assert_refused(here("pack", built.out, out), f"{out} exists and is not a packed store")
    assert out.read_text() == "mine"
    before = built.out.read_bytes()
    assert_refused(here("pack", built.out, built.out, "--force"), f"{built.out} is an input")
    assert built.out.read_bytes() == before


def test_a_pack_is_not_packed_again(packed, tmp_path):
    assert_refused(here("pack", packed, tmp_path / "x.h5"), f"{packed} is already packed")
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_store_is_not_packed(built, tmp_path):
    lost = next(built.out.with_suffix(".shards").glob("test/slic-c10-4/00001-*.h5"))
    lost.unlink()
    done = here("pack", built.out, tmp_path / "x.h5")
    assert_refused(done, f"is missing 1 shards, first {lost.relative_to(built.out.parent)}")
    assert list(tmp_path.glob("*.h5")) == list(tmp_path.rglob("*.tmp")) == []


def test_another_ending_is_refused(built, tmp_path):
    assert_refused(here("pack", built.out, tmp_path / "x.hdf5"), "ending in .h5")


def test_a_damaged_store_does_not_become_a_pack_that_is_called_sound(own_store, tmp_path):
    (path,) = own_store.path.with_suffix(".shards").glob("train/slic-c10-9/00001-*.h5")
    with open_plain(path) as file:
        chunk = file["maps"].id.get_chunk_info(2)
    flip(path, chunk.byte_offset + chunk.size // 2)
    if here("pack", own_store.path, tmp_path / "pack.h5").exit_code == 0:
        assert here("verify", tmp_path / "pack.h5").exit_code == 1
    else:
        assert not (tmp_path / "pack.h5").exists()


@pytest.mark.parametrize("options", [(), ("--update",), ("--algorithm", "grid")])
def test_a_pack_is_never_built_upon(options, packed, noisy):
    before = all_files(packed.parent)
    done = here(*build_command(noisy, packed, *options)[2:])
    assert_refused(done, f"{packed} is a packed store, which cannot be changed; choose another --out")
    assert all_files(packed.parent) == before
