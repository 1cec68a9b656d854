"""``build --update``: changed images go into new shards, all else stays where it is."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess import images
from preprocess.datasets import Sample
from preprocess.store import Store
from tests.preprocess.conftest import QUICK, Built, all_files, build_command, here, open_plain

SCALES = 2


def edit(root: Path, *keys: str) -> set[str]:
    """Invert pictures: other pixels, the same length."""
    for key in keys:
        image = np.asarray(Image.open(root / key))
        Image.fromarray(255 - image).save(root / key)
    return set(keys)


def enlarge(root: Path, key: str) -> set[str]:
    Image.open(root / key).rotate(90).resize((40, 31)).save(root / key)
    return {key}


def add(root: Path, *keys: str) -> set[str]:
    random = np.random.default_rng(len(keys[0]))
    for key in keys:
        (root / key).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (6, 5, 3), dtype=np.uint8)).resize((24, 20)).save(root / key)
    return set(keys)


def remove(root: Path, *keys: str) -> set[str]:
    for key in keys:
        (root / key).unlink()
    return set()


def move(root: Path, old: str, new: str) -> set[str]:
    (root / old).rename(root / new)
    return {new}


def every(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.ppm"))]


def a_class_in_front(root: Path) -> set[str]:
    """Class b is number 2 from now on."""
    return add(root, "train/aa/0.ppm", "test/aa/0.ppm") | {key for key in every(root) if "/b/" in key}


def a_bit_of_all(root: Path) -> set[str]:
    remove(root, "test/b/0.ppm", "train/a/0.ppm")
    new = add(root, "train/b/2x.ppm") | edit(root, "test/a/1.ppm") | move(root, "train/a/3.ppm", "train/b/9.ppm")
    return new | enlarge(root, "train/b/1.ppm")


# What is done to the folder; it returns the images that are to be decoded again.
CHANGES: dict[str, Callable[[Path], set[str]]] = {
    "edited": lambda root: edit(root, "train/a/1.ppm"),
    "edited, of another length": lambda root: enlarge(root, "test/b/2.ppm"),
    "added": lambda root: add(root, "train/a/2x.ppm"),
    "removed": lambda root: remove(root, "train/b/0.ppm"),
    "removed, the last of a split": lambda root: remove(root, "train/b/4.ppm"),
    "removed, a shard of them": lambda root: remove(root, "train/b/3.ppm", "train/b/4.ppm"),
    "renamed": lambda root: move(root, "train/a/0.ppm", "train/a/zero.ppm"),
    "moved to another class": lambda root: move(root, "train/a/4.ppm", "train/b/22.ppm"),
    "a class at the end": lambda root: add(root, "train/c/0.ppm", "train/c/1.ppm", "test/c/0.ppm"),
    "a class in front": a_class_in_front,
    "a shard of them edited": lambda root: edit(root, *(f"train/a/{place}.ppm" for place in range(4))),
    "all edited": lambda root: edit(root, *every(root)),
    "a bit of all": a_bit_of_all,
}


def shards(home: Built) -> dict:
    return all_files(home.out.with_suffix(".shards"))


def update(home: Built, run, changed: set[str], *options: str, scales: int = SCALES) -> None:
    """Update, and compare what was done with the images that were changed."""
    before = shards(home)
    done = run(*home.command, "--update", *options)
    assert done.returncode == 0, done.stderr
    assert f": {scales * len(changed)} maps computed" in done.stdout
    after = shards(home)
    assert {path: after.get(path) for path in before} == before
    new = [path for path in after if path not in before and path.parts[1] == "images"]
    assert sorted(changed) == sorted(key for path in new for key in keys_in(home.out.with_suffix(".shards") / path))


def keys_in(shard: Path) -> list[str]:
    with open_plain(shard) as file:
        return [key.decode() for key in file["keys"]]


def assert_like_a_fresh_build(home: Built, folder: Path, *extra: tuple[str, ...]) -> None:
    """Content, order, keys of content and statistics are those of a store that is built now, elsewhere."""
    fresh = folder / "fresh" / "x.h5"
    shutil.rmtree(fresh.parent, ignore_errors=True)
    for options in ((), *extra):
        done = here(*build_command(home.root, fresh, *QUICK, *options)[2:])
        assert done.exit_code == 0, done.output
    same = here("diff", home.out, fresh)
    assert same.exit_code == 0, same.output
    for name in Store(fresh).superpixel_sets:
        assert_equal_stores(Store(home.out, name), Store(fresh, name))
    sound = here("verify", home.out, "--jobs", "1")
    assert sound.exit_code == 0, sound.output


def assert_equal_stores(store: Store, fresh: Store) -> None:
    assert store.classes == fresh.classes
    assert store.content_keys == fresh.content_keys
    assert store.region_count == fresh.region_count
    for split, layout in fresh.splits.items():
        rows = range(len(layout))
        assert len(store.splits[split]) == len(layout)
        assert store.keys(split) == fresh.keys(split)
        np.testing.assert_array_equal(store.labels(split), fresh.labels(split))
        np.testing.assert_array_equal(store.images(split, rows), fresh.images(split, rows))
        assert store.has_maps(split) == fresh.has_maps(split)
        for scale in fresh.scales if fresh.has_maps(split) else ():
            np.testing.assert_array_equal(
                store.maps(split, scale.segments, rows), fresh.maps(split, scale.segments, rows)
            )
        mine, theirs = (each.document["splits"][split] for each in (store, fresh))
        assert (mine["failed"], mine["samples"]) == (theirs["failed"], theirs["samples"])
        for name, column in theirs["columns"].items():
            for what in ("least_regions", "regions", "largest_id", "recipe", "dtype", "content_key"):
                assert mine["columns"][name].get(what) == column.get(what)


def assert_complete(home: Built, *options: str) -> None:
    before = all_files(home.out.parent)
    for flags in ((), ("--update",)):
        done = here(*home.command[2:], *options, *flags)
        assert done.exit_code == 0, done.output
        assert "is complete" in done.stdout
        assert "nothing to do" in done.stdout
        assert all_files(home.out.parent) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_is_refused_and_taken_in_with_update(change, home, run, tmp_path):
    changed = change(home.root)
    before = all_files(home.out.parent)
    refused = here(*home.command[2:])
    assert refused.exit_code == 1
    assert "--update" in refused.output
    assert all_files(home.out.parent) == before
    update(home, run, changed)
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def test_the_refusal_lists_what_differs(home, run):
    add(home.root, "train/c/0.ppm", "test/c/0.ppm")
    before = all_files(home.out.parent)
    done = run(*home.command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for line in (
        "was built with other settings or images",
        "classes: stored a, b, requested a, b, c",
        "images of train",
        "images of test",
    ):
        assert line in done.stderr
    assert "apply the changes with --update" in done.stderr
    assert all_files(home.out.parent) == before


def test_an_update_without_changes_does_nothing(home, run):
    for key in every(home.root):
        (home.root / key).touch()
    before = all_files(home.out.parent)
    done = run(*home.command, "--update")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{home.out} is complete; nothing to do\n"
    assert all_files(home.out.parent) == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--size", "24"), "--size: stored 16, requested 24"),
        (("--codec", "jpeg"), "--codec: stored raw, requested jpeg"),
        (("--shard-size", "3"), "--shard-size of train: stored 4, requested 3"),
    ],
)
def test_an_update_does_not_change_size_or_codec(options, line, home, run):
    edit(home.root, "train/a/0.ppm")
    before = all_files(home.out.parent)
    done = run(*home.command, "--update", *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert line in done.stderr
    assert "choose another --out" in done.stderr
    assert all_files(home.out.parent) == before


def test_updates_follow_one_another_and_edits_are_taken_back(home, run, tmp_path):
    original = Store(home.out).content_keys
    update(home, run, edit(home.root, "train/a/1.ppm"))
    update(home, run, edit(home.root, "train/a/2.ppm") | add(home.root, "train/b/5.ppm"))
    remove(home.root, "train/b/5.ppm")
    update(home, run, edit(home.root, "train/a/1.ppm"))
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)
    update(home, run, edit(home.root, "train/a/2.ppm"))
    assert_like_a_fresh_build(home, tmp_path)
    assert Store(home.out).content_keys == original
    assert_complete(home)


def test_an_open_store_keeps_what_it_saw(home):
    store = Store(home.out)
    seen = store.images("train", range(10)), store.maps("train", 9, range(10)), store.keys("train")
    store.close()
    edit(home.root, *every(home.root))
    assert here(*home.command[2:], "--update").exit_code == 0
    np.testing.assert_array_equal(store.images("train", range(10)), seen[0])
    np.testing.assert_array_equal(store.maps("train", 9, range(10)), seen[1])
    assert store.keys("train") == seen[2]


GRID = ("--algorithm", "grid")


@pytest.mark.parametrize("splits", [(), ("--splits", "train")])
def test_an_update_cuts_changed_images_at_all_scales_of_their_split(splits, home, run, tmp_path):
    assert here(*home.command[2:], *GRID, *splits).exit_code == 0
    update(home, run, edit(home.root, "train/b/1.ppm"), scales=4)
    assert_like_a_fresh_build(home, tmp_path, (*GRID, *splits))
    update(home, run, edit(home.root, "test/b/1.ppm"), scales=2 if splits else 4)
    assert_like_a_fresh_build(home, tmp_path, (*GRID, *splits))
    assert_complete(home)


def test_superpixels_are_added_to_an_updated_store(home, run, tmp_path):
    update(home, run, edit(home.root, "train/a/1.ppm", "test/b/0.ppm"))
    before = shards(home)
    done = run(*home.command, *GRID)
    assert done.returncode == 0, done.stderr
    assert {path: shards(home).get(path) for path in before} == before
    assert_like_a_fresh_build(home, tmp_path, GRID)
    assert_complete(home, *GRID)


def test_an_update_adds_superpixels_at_once(home, run, tmp_path):
    edit(home.root, "train/a/1.ppm")
    done = run(*home.command, *GRID, "--update")
    assert done.returncode == 0, done.stderr
    assert ": 36 maps computed" in done.stdout  # grid for the 16 places in shards, all four for the new one
    assert_like_a_fresh_build(home, tmp_path, GRID)
    assert_complete(home, *GRID)


def test_an_update_takes_in_a_new_split(home, run, tmp_path):
    for key in every(home.root / "test"):
        (home.root / "val" / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(home.root / "test" / key, home.root / "val" / key)
    changed = edit(home.root, "train/a/0.ppm") | {f"val/{key}" for key in every(home.root / "val")}
    update(home, run, changed)
    store = Store(home.out)
    assert len(store.keys("val")) == 6
    np.testing.assert_array_equal(store.images("val", range(6)), store.images("test", range(6)))


def test_a_split_that_is_gone_is_refused_and_leaves_with_update(home, run, tmp_path):
    """Its images are in another split now: tested on what was chosen by, or learnt."""
    (home.root / "test").rename(home.root / "val")
    before, kept = all_files(home.out.parent), shards(home)
    refused = here(*home.command[2:])
    assert refused.exit_code == 1
    assert "splits: stored train, test, requested train, val" in refused.output
    assert "--update, which removes test, or keep test: --splits train,val, or" in refused.output
    assert all_files(home.out.parent) == before
    done = run(*home.command, "--update")
    assert "test: stored, but not listed; the update removes it" in done.stderr
    assert list(Store(home.out).splits) == ["train", "val"]
    assert {path: shards(home).get(path) for path in kept} == kept
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def test_a_split_that_is_gone_stays_where_splits_are_asked_for(home):
    (home.root / "test").rename(home.root / "val")
    for options in (("--splits", "train"), ("--splits", "val,train", "--update"), ("--splits", "train", *GRID)):
        assert here(*home.command[2:], *options).exit_code == 0
    assert list(Store(home.out).splits) == ["train", "test", "val"]
    assert here("verify", home.out, "--jobs", "1").exit_code == 0


def test_superpixels_and_classes_of_the_split_that_is_gone_leave_with_it(home, tmp_path):
    add(home.root, "train/c/0.ppm", "test/c/0.ppm")
    assert here(*home.command[2:], "--update").exit_code == 0
    assert here(*home.command[2:], "--splits", "test", *GRID).exit_code == 0
    shutil.rmtree(home.root / "test")
    shutil.rmtree(home.root / "train" / "c")
    assert here(*home.command[2:], "--update").exit_code == 0
    assert list(Store(home.out).superpixel_sets) == ["watershed-c10-4,9"]
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def spoil(home: Built, key: str) -> bytes:
    """Cut a picture short; returns what it held."""
    data = (home.root / key).read_bytes()
    (home.root / key).write_bytes(data[:-50])
    return data


def test_an_image_that_became_unreadable_withholds_the_update(home, run):
    spoil(home, "train/a/1.ppm")
    before = home.out.read_bytes()
    done = run(*home.command, "--update")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "train/a/1.ppm: " in done.stderr
    assert "--skip-bad" in done.stderr
    assert home.out.read_bytes() == before


def test_an_image_that_became_unreadable_is_left_out_and_taken_in_when_mended(home, run, tmp_path):
    held = spoil(home, "train/a/2.ppm")
    update(home, run, edit(home.root, "train/a/3.ppm", "train/b/0.ppm"), "--skip-bad")
    store = Store(home.out)
    assert [failure["key"] for failure in store.document["splits"]["train"]["failed"]] == ["train/a/2.ppm"]
    assert "train/a/2.ppm" not in store.keys("train")
    (home.root / "train/a/2.ppm").write_bytes(held)
    update(home, run, {"train/a/2.ppm"})
    assert failed_in(home) == []
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def test_a_build_after_an_update_that_left_an_image_out_says_complete(home):
    spoil(home, "train/a/2.ppm")
    assert here(*home.command[2:], "--update", "--skip-bad").exit_code == 0
    again = here(*home.command[2:])
    assert "is complete (without 1 unusable images, see inspect); nothing to do" in again.output


@pytest.fixture
def without_one(home: Built) -> tuple[Built, bytes]:
    """A store that was built without an unreadable image, and what the image held before."""
    shutil.rmtree(home.out.parent)
    held = spoil(home, "train/a/2.ppm")
    done = here(*home.command[2:], "--skip-bad")
    assert done.exit_code == 0, done.output
    return home, held


def failed_in(home: Built, split: str = "train") -> list[str]:
    return [failure["key"] for failure in Store(home.out).document["splits"][split]["failed"]]


def test_a_mended_image_is_taken_in(without_one, run, tmp_path):
    home, held = without_one
    (home.root / "train/a/2.ppm").write_bytes(held)
    update(home, run, {"train/a/2.ppm"})
    assert failed_in(home) == []
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def test_a_mended_image_is_taken_in_while_superpixels_are_added(without_one, run, tmp_path):
    home, held = without_one
    (home.root / "train/a/2.ppm").write_bytes(held)
    done = run(*home.command, *GRID, "--update")
    assert done.returncode == 0, done.stderr
    assert failed_in(home) == []
    assert "train/a/2.ppm" in Store(home.out).keys("train")
    assert_like_a_fresh_build(home, tmp_path, GRID)


def test_an_image_that_is_still_bad_is_listed_once(without_one, run):
    home, _ = without_one
    edit(home.root, "train/b/4.ppm")
    done = run(*home.command, *GRID, "--update", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert failed_in(home) == ["train/a/2.ppm"]
    assert len(Store(home.out).keys("train")) == 9


def test_an_image_that_failed_for_want_of_something_is_tried_again(home, run, tmp_path, monkeypatch):
    """Its file is unchanged: there was too little memory, or a plugin was missing."""
    shutil.rmtree(home.out.parent)
    file = (home.root / "train/a/2.ppm").read_bytes()

    def check(_: Image.Image, data: bytes) -> None:
        if data == file:
            raise MemoryError

    monkeypatch.setattr(images, "_refuse_bombs", check)
    done = here(*home.command[2:], "--backend", "threading", "--skip-bad")
    assert done.exit_code == 0, done.output
    assert failed_in(home) == ["train/a/2.ppm"]
    assert {failure["reason"] for failure in Store(home.out).document["splits"]["train"]["failed"]} == {
        "there is not enough memory to decode it"
    }
    monkeypatch.undo()
    update(home, run, {"train/a/2.ppm"})
    assert failed_in(home) == []
    assert_like_a_fresh_build(home, tmp_path)


def test_a_repeated_update_without_a_bad_image_does_nothing(without_one, run):
    home, _ = without_one
    assert here(*home.command[2:], "--update", "--skip-bad").exit_code == 0
    before = all_files(home.out.parent)
    done = run(*home.command, "--update", "--skip-bad")
    assert "nothing to do" in done.stdout
    assert all_files(home.out.parent) == before


@pytest.mark.parametrize("key", ["train/a/2.ppm", "train/b/4.ppm"])
def test_a_bad_image_that_was_removed_is_forgotten(key, home, run, tmp_path):
    shutil.rmtree(home.out.parent)
    spoil(home, key)
    assert here(*home.command[2:], "--skip-bad").exit_code == 0
    assert failed_in(home) == [key]
    remove(home.root, key)
    update(home, run, set())
    assert failed_in(home) == []
    assert_like_a_fresh_build(home, tmp_path)
    assert_complete(home)


def test_boxes_are_part_of_the_digest_of_a_source():
    """Else an update would keep the boxes of an image whose file stays as it is."""
    boxes = ((), ((0.0, 0.0, 4.0, 4.0),), ((0.0, 0.0, 4.0, 5.0),))
    digests = [Sample("a.jpg", 0, Path("a.jpg"), each).digest(b"pixels") for each in boxes]
    assert digests[0] == hashlib.sha256(b"pixels").digest()
    assert len(set(digests)) == 3
