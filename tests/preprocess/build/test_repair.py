"""``verify --repair`` makes damaged shards again, with the bytes that they had, and touches nothing else."""

import shlex
import shutil
from pathlib import Path

import pytest

from preprocess.store import Store
from tests.conftest import run_command
from tests.preprocess.conftest import QUICK, Built, all_files, build_command, flip, here, open_plain

MAPS, IMAGES = "watershed-c10-9", "images"


def shard(home: Built, split: str, column: str, number: int) -> Path:
    (path,) = (home.out.with_suffix(".shards") / split / column).glob(f"{number:05d}-*.h5")
    return path


def spoil(path: Path) -> None:
    """Damage one sample: the shard opens, and its size stays."""
    with open_plain(path) as file:
        chunk = file["maps" if "maps" in file else "images"].id.get_chunk_info(1)
    flip(path, chunk.byte_offset + chunk.size // 2)


def repair(home: Built, run, *options: object, cwd: Path | None = None):
    done = run("-m", "preprocess", "verify", home.out, "--repair", "--jobs", "1", *options, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


def damage_map(home: Built) -> set[Path]:
    path = shard(home, "train", MAPS, 1)
    spoil(path)
    return {path}


def damage_images(home: Built) -> set[Path]:
    path = shard(home, "train", IMAGES, 1)
    spoil(path)
    return {path}


def delete_map(home: Built) -> set[Path]:
    path = shard(home, "test", MAPS, 0)
    path.unlink()
    return {path}


def delete_images(home: Built) -> set[Path]:
    path = shard(home, "test", IMAGES, 1)
    path.unlink()
    return {path}


def replace_map(home: Built) -> set[Path]:
    path = shard(home, "train", MAPS, 0)
    path.write_bytes(shard(home, "train", MAPS, 1).read_bytes())
    return {path}


def replace_images(home: Built) -> set[Path]:
    path = shard(home, "train", IMAGES, 0)
    path.write_bytes(shard(home, "train", IMAGES, 1).read_bytes())
    return {path}


def empty_a_range(home: Built) -> set[Path]:
    paths = {shard(home, "train", column, 0) for column in (IMAGES, MAPS, "watershed-c10-4")}
    for path in paths:
        path.write_bytes(b"")
    return paths


def damage_much(home: Built) -> set[Path]:
    return damage_map(home) | damage_images(home) | delete_map(home) | replace_images(home)


OF_MAPS = {"damaged": damage_map, "deleted": delete_map, "another": replace_map}
OF_IMAGES = {
    "damaged": damage_images,
    "deleted": delete_images,
    "another": replace_images,
    "a whole range": empty_a_range,
    "several": damage_much,
}


def assert_mended(home: Built, done, before: dict, damaged: set[Path]) -> None:
    assert done.returncode == 0, done.stderr
    assert f"rebuilt {len(damaged)} shards of {home.out}" in done.stdout
    assert f"{home.out} is intact: " in done.stdout
    after = all_files(home.out.parent)
    assert {path: data for path, (data, _) in after.items()} == {path: data for path, (data, _) in before.items()}
    touched = {home.out.parent / path for path in after if after[path][1] != before[path][1]}
    assert touched == damaged
    assert here("verify", home.out, "--jobs", "1").exit_code == 0


@pytest.mark.parametrize("damage", OF_MAPS.values(), ids=OF_MAPS)
def test_maps_are_made_from_the_stored_images_without_raw_data(damage, home, run):
    before = all_files(home.out.parent)
    damaged = damage(home)
    shutil.rmtree(home.root)
    assert here("verify", home.out, "--jobs", "1").exit_code == 1
    assert_mended(home, repair(home, run), before, damaged)


@pytest.mark.parametrize("damage", OF_IMAGES.values(), ids=OF_IMAGES)
def test_images_are_made_from_the_raw_data(damage, home, run):
    before = all_files(home.out.parent)
    damaged = damage(home)
    assert_mended(home, repair(home, run, "--root", home.root), before, damaged)


def test_a_sound_store_is_left_alone(home, run):
    before = all_files(home.out.parent)
    done = repair(home, run)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{home.out} is intact: 15 shards match their digests\n"
    assert all_files(home.out.parent) == before


def test_raw_data_that_is_not_at_its_default_place_is_missed_clearly(home, tmp_path):
    damage_images(home)
    before = all_files(home.out.parent)
    done = repair(home, run_command, cwd=tmp_path)  # a real process
    assert done.returncode == 1
    assert "data/raw/folder" in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert all_files(home.out.parent) == before


def test_raw_data_is_found_at_its_default_place(home, run, tmp_path):
    before = all_files(home.out.parent)
    damaged = damage_images(home)
    shutil.copytree(home.root, tmp_path / "data" / "raw" / "folder")
    assert_mended(home, repair(home, run, cwd=tmp_path), before, damaged)


@pytest.mark.parametrize("change", ["edited", "resized", "removed"])
def test_images_whose_sources_changed_are_refused(change, home, run):
    picture = home.root / "train" / "a" / "4.ppm"  # in the damaged shard
    if change == "edited":
        flip(picture, len(picture.read_bytes()) - 20)
    elif change == "resized":
        picture.write_bytes((home.root / "train" / "b" / "1.ppm").read_bytes())
    else:
        picture.unlink()
    damage_images(home)
    before = all_files(home.out.parent)
    done = repair(home, run, "--root", home.root)
    assert done.returncode == 1
    assert "build --update" in done.stderr
    assert all_files(home.out.parent) == before


@pytest.fixture
def updated(home: Built) -> Built:
    """A store into which one edited training picture was taken."""
    (home.root / "train" / "a" / "1.ppm").write_bytes((home.root / "test" / "b" / "0.ppm").read_bytes())
    done = here(*home.command[2:], "--update")
    assert done.exit_code == 0, done.output
    return home


@pytest.mark.parametrize("number", [1, 3])
def test_maps_of_an_updated_store_are_made_again(number, updated, run):
    before = all_files(updated.out.parent)
    damaged = shard(updated, "train", MAPS, number)
    flip(damaged, damaged.stat().st_size // 2)
    shutil.rmtree(updated.root)
    assert_mended(updated, repair(updated, run), before, {damaged})


def test_images_of_an_untouched_split_of_an_updated_store_are_made_again(updated, run):
    before = all_files(updated.out.parent)
    damaged = delete_images(updated)
    assert_mended(updated, repair(updated, run, "--root", updated.root), before, damaged)


def assert_sound_and_like_a_fresh_build(home: Built, folder: Path) -> None:
    sound = here("verify", home.out, "--jobs", "1")
    assert sound.exit_code == 0, sound.output
    fresh = folder / "fresh" / "x.h5"
    assert here(*build_command(home.root, fresh, *QUICK)[2:]).exit_code == 0
    same = here("diff", home.out, fresh)
    assert same.exit_code == 0, same.output
    assert Store(home.out).content_keys == Store(fresh).content_keys


LOSSES = {"damaged": spoil, "deleted": Path.unlink, "cut": lambda path: path.write_bytes(path.read_bytes()[:-600])}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_images_of_an_updated_store_come_back_with_update(lose, updated, run, tmp_path):
    lose(shard(updated, "train", IMAGES, 1))
    index = updated.out.read_bytes()
    done = repair(updated, run, "--root", updated.root)
    assert done.returncode == 1
    assert "build --update" in done.stderr
    assert updated.out.read_bytes() == index
    mended = run(*updated.command, "--update")
    assert mended.returncode == 0, mended.stderr
    assert_sound_and_like_a_fresh_build(updated, tmp_path)


@pytest.mark.parametrize("column", [IMAGES, MAPS])
def test_shards_that_were_all_replaced_by_an_update_are_repaired_as_any(column, home, run):
    for path in home.root.rglob("*.ppm"):
        path.write_bytes(path.read_bytes() + b"more")
    assert here(*home.command[2:], "--update").exit_code == 0
    before = all_files(home.out.parent)
    number, (name, *_) = 1, Store(home.out).splits["train"].paths[column][1:]
    damaged = home.out.parent / name
    assert f"{number:05d}-" in name
    spoil(damaged)
    assert_mended(home, repair(home, run, "--root", home.root), before, {damaged})


def test_a_store_without_its_bad_images_is_repaired(home, run):
    shutil.rmtree(home.out.parent)
    (home.root / "train" / "a" / "4.ppm").write_bytes(b"")
    assert here(*home.command[2:], "--skip-bad").exit_code == 0
    before = all_files(home.out.parent)
    damaged = damage_images(home) | damage_map(home)
    assert_mended(home, repair(home, run, "--root", home.root), before, damaged)


def test_a_packed_store_is_not_repaired(home, run, tmp_path):
    assert here("pack", home.out, tmp_path / "pack.h5").exit_code == 0
    flip(tmp_path / "pack.h5", (tmp_path / "pack.h5").stat().st_size // 2)
    before = (tmp_path / "pack.h5").read_bytes()
    packed = Built(home.root, tmp_path / "pack.h5", ())
    done = repair(packed, run, "--root", home.root)
    assert done.returncode == 1
    assert "is a packed store, which cannot be changed; pack the original store again" in done.stderr
    assert (tmp_path / "pack.h5").read_bytes() == before


@pytest.mark.parametrize("damage", [damage_map, damage_images])
def test_the_advice_to_repair_works(home, run, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)  # no data/raw here
    damage(home)
    told = run("-m", "preprocess", "verify", home.out).stderr
    command = (
        told.partition("repair it with python ")[2].partition(", and")[0].strip().replace("FOLDER", str(home.root))
    )
    assert ("--root" in command) == (damage is damage_images)
    assert run(*shlex.split(command)).returncode == 0


def test_a_store_of_some_splits_is_repaired_beside_folders_that_are_none(noisy, tmp_path):
    """The build was told by --splits what to leave out; the store knows."""
    shutil.copytree(noisy, tmp_path / "raw")
    shutil.copytree(noisy / "test", tmp_path / "raw" / "extra")
    out = tmp_path / "x.h5"
    done = here(*build_command(tmp_path / "raw", out, "--splits", "test,extra", *QUICK)[2:])
    assert done.exit_code == 0, done.output
    path = next((tmp_path / "x.shards" / "extra" / "images").iterdir())
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    shutil.rmtree(tmp_path / "raw" / "test")  # is not needed
    done = here("verify", out, "--repair", "--root", tmp_path / "raw", "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == before
