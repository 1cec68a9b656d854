"""The command ``build``: it builds, continues, and does nothing twice."""

import os
import time

import pytest

from preprocess.build.sources import built_at, set_built_at
from preprocess.store import Store
from tests.preprocess.conftest import all_files, build_command, build_here, run_here, shard_files


def assert_one_message(done, code: int) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error: ") == 1


def test_a_folder_becomes_a_store(built_once):
    store = Store(built_once.out)
    assert (store.name, store.dataset, store.size) == ("pictures", "folder", 16)
    assert store.classes == ("a", "b")
    assert {split: len(layout) for split, layout in store.splits.items()} == {"train": 10, "test": 6}
    assert [(scale.segments, scale.weight) for scale in store.scales] == [(4, 0.5), (9, 0.5)]


def test_the_summary_states_images_scales_and_maps(built_once):
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in built_once.told.splitlines() if "│" in line]
    maps = "slic-c10-4, slic-c10-9"
    assert rows == [["train", "10", "0", maps], ["test", "6", "0", maps]]
    assert ": 32 maps computed" in built_once.told


def test_a_second_run_does_nothing(built, run):
    before = all_files(built.out.parent)
    done = run(*built.command)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{built.out} is complete; nothing to do\n"
    assert all_files(built.out.parent) == before


@pytest.mark.parametrize(("column", "computed"), [("images", 0), ("slic-c10-9", 4)])
def test_only_a_deleted_shard_is_made_again_and_with_the_same_bytes(built, run, column, computed):
    before = all_files(built.out.parent)
    (shard,) = built.out.with_suffix(".shards").glob(f"train/{column}/00001-*.h5")
    shard.unlink()
    done = run(*built.command)
    assert done.returncode == 0, done.stderr
    assert f": {computed} maps computed" in done.stdout
    after = all_files(built.out.parent)
    assert {path: content for path, (content, _) in after.items()} == {path: data for path, (data, _) in before.items()}
    rewritten = {path for path in after if after[path][1] != before[path][1]}
    assert rewritten == {shard.relative_to(built.out.parent), built.out.relative_to(built.out.parent)}


def test_a_deleted_index_is_made_again_from_the_shards(built, run):
    before = all_files(built.out.parent)
    built.out.unlink()
    done = run(*built.command)
    assert done.returncode == 0, done.stderr
    assert ": 0 maps computed" in done.stdout
    after = all_files(built.out.parent)
    assert after[built.out.relative_to(built.out.parent)][0] == before[built.out.relative_to(built.out.parent)][0]
    assert {path for path in after if after[path] != before[path]} == {built.out.relative_to(built.out.parent)}


def test_a_damaged_shard_that_has_lost_its_end_is_made_again(built, run):
    before = all_files(built.out.parent)
    (shard,) = built.out.with_suffix(".shards").glob("test/slic-c10-4/00000-*.h5")
    shard.write_bytes(shard.read_bytes()[:-100])
    done = run(*built.command)
    assert done.returncode == 0, done.stderr
    assert shard.read_bytes() == before[shard.relative_to(built.out.parent)][0]


def assert_refused(built, done, *differences: str) -> None:
    assert_one_message(done, 1)
    assert f"{built.out} was built with other settings or images" in done.stderr
    for difference in differences:
        assert difference in done.stderr
    assert "choose another --out" in done.stderr


@pytest.mark.parametrize(
    ("options", "differences"),
    [
        (("--size", "24"), ["--size: stored 16, requested 24"]),
        (("--codec", "jpeg"), ["--codec: stored raw, requested jpeg"]),
        (
            ("--resize", "short", "--codec", "png"),
            ["--codec: stored raw, requested png", "--resize: stored squash, requested short"],
        ),
        (("--shard-size", "3"), ["--shard-size of train: stored 4, requested 3"]),
    ],
)
def test_other_settings_on_the_same_store_are_refused_and_listed(built, run, options, differences):
    before = all_files(built.out.parent)
    done = run(*built.command, *options)
    assert_refused(built, done, *differences)
    assert all_files(built.out.parent) == before


@pytest.mark.parametrize("change", ["another picture", "one more picture", "one less picture"])
def test_changed_pictures_on_the_same_store_are_refused(built, run, change):
    picture = built.root / "train" / "a" / "0.png"
    if change == "another picture":
        picture.write_bytes((built.root / "test" / "b" / "1.png").read_bytes())
    elif change == "one more picture":
        (picture.parent / "9.png").write_bytes(picture.read_bytes())
    else:
        picture.unlink()
    before = all_files(built.out.parent)
    done = run(*built.command)
    assert_refused(built, done, "images of train", "apply the changes with --update")
    assert all_files(built.out.parent) == before


def test_a_picture_that_changed_within_the_same_length_is_noticed(tmp_path):
    picture = tmp_path / "raw" / "train" / "a" / "0.ppm"  # pixels are not compressed: every edit keeps the length
    picture.parent.mkdir(parents=True)
    header, pixels = b"P6 8 8 255\n", bytes(range(192))
    picture.write_bytes(header + pixels)
    build_here(tmp_path / "raw", tmp_path / "x.h5")
    picture.write_bytes(header + pixels[::-1])
    done = run_here(*build_command(tmp_path / "raw", tmp_path / "x.h5"))
    assert "nothing to do" not in done.stdout


def test_a_picture_that_changed_while_later_ones_were_stored_is_noticed(tmp_path):
    header, pixels = b"P6 8 8 255\n", bytes(range(192))
    home = tmp_path / "raw" / "train" / "a"
    home.mkdir(parents=True)
    for place in range(8):  # two shards
        (home / f"{place}.ppm").write_bytes(header + pixels[place:] + pixels[:place])
    store = build_here(tmp_path / "raw", tmp_path / "x.h5")
    picture = home / "0.ppm"
    picture.write_bytes(header + pixels[::-1])
    later = picture.stat().st_ctime_ns + 1_000_000
    os.utime(shard_files(store, "train", "images")[1], ns=(later, later))  # the other shard was begun after the edit
    done = run_here(*build_command(tmp_path / "raw", tmp_path / "x.h5"))
    assert done.returncode == 1
    assert "1 images changed since" in done.stderr
    assert "train/a/0.ppm" in done.stderr


def test_a_shard_is_dated_back_by_what_the_clock_of_a_file_system_may_lag(tmp_path):
    shard, begin = tmp_path / "shard.h5", time.time_ns()
    shard.touch()
    set_built_at(shard, begin)
    assert begin - 25_000_000 <= built_at(shard) <= begin - 15_000_000  # whatever the file system rounds
