"""Divide images by their keys."""

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from preprocess.datasets import Listing, Sample
from preprocess.errors import SettingError
from preprocess.raw.division import divide, parse_rule
from preprocess.store import Store
from tests.conftest import paint
from tests.preprocess.conftest import QUICK, here


def pictures(classes: int, count: int) -> Listing:
    places = [(name, index) for name in range(classes) for index in range(count)]
    samples = [Sample(f"{name}/{index:04d}.jpg", name, Path(f"{name}/{index}")) for name, index in places]
    return Listing(tuple(map(str, range(classes))), {"train": tuple(samples)}, undivided=True)


def homes(listing: Listing) -> dict[str, str]:
    return {sample.key: split for split, samples in listing.splits.items() for sample in samples}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val=0.1,test=0.2", "val=0.1,test=0.2"),
        ("test=0.2,val=.10", "val=0.1,test=0.2"),
        ("dev=0.25", "val=0.25"),
        ("train=0.7,eval=0.3", "test=0.3"),
        ("test=1e-3", "test=0.001"),
    ],
)
def test_a_rule_has_one_form(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    ["", "val", "val=", "val=0", "val=1", "val=-0.1", "val=nan", "val=1e-20", "val=0.5,test=0.5", "val=0.1,dev=0.1",
     "extra=0.1", "train=0.5,val=0.1", "val:0.1", "val=0,1"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_rule(text)


def test_every_image_goes_where_the_hash_of_its_key_says():
    listing = pictures(3, 200)
    found = homes(divide(listing, "val=0.1,test=0.2"))
    assert found.keys() == homes(listing).keys()
    for key, split in found.items():
        share = int(hashlib.sha256(key.encode()).hexdigest()[:12], 16) / 16**12
        assert split == ("val" if share < 0.1 else "test" if share < 0.3 else "train")


def test_shares_hold_in_every_class_up_to_chance():
    found = divide(pictures(10, 400), "val=0.1,test=0.2").splits
    for split, share in (("val", 40), ("test", 80)):
        counts = [sum(sample.label == label for sample in found[split]) for label in range(10)]
        spread = (share * (1 - share / 400)) ** 0.5
        assert all(abs(count - share) < 4 * spread for count in counts)
        assert abs(sum(counts) - 10 * share) < 4 * 10**0.5 * spread


def test_images_that_are_added_or_removed_move_no_other():
    listing = pictures(5, 100)
    whole = homes(divide(listing, "val=0.2,test=0.2"))
    part = tuple(random.Random(3).sample(listing.splits["train"], 300))
    fewer = homes(divide(Listing(listing.classes, {"train": part}), "val=0.2,test=0.2"))
    assert fewer.items() <= whole.items()


def test_a_class_keeps_an_image_for_training_and_a_warning_counts_what_a_split_lacks():
    divided = divide(pictures(40, 2), "test=0.5")
    assert {sample.label for sample in divided.splits["train"]} == set(range(40))
    lacking = 40 - len({sample.label for sample in divided.splits["test"]})
    assert 0 < lacking < 20
    assert divided.notes == (f"warning: test has no image of {lacking} of 40 classes, by the shares of --split",)


@pytest.mark.parametrize(
    ("splits", "undivided", "rule", "message"),
    [
        (("train",), True, "", "--split val=0.1,test=0.2"),
        (("train", "test"), False, "train", "divided into train, test already"),
        (("train", "test"), False, "test=0.2", "test, which is there already"),
        (("test",), False, "val=0.2", "add train to --splits"),
        (("train",), True, "val=0.000001", "gives val no image"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(splits, undivided, rule, message):
    samples = pictures(2, 20).splits["train"]
    listing = Listing(("a", "b"), dict.fromkeys(splits, samples), undivided=undivided)
    with pytest.raises(SettingError, match=message):
        divide(listing, rule)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """One folder a class, 12 images each."""
    for seed in range(24):
        paint(tmp_path / "raw" / "ab"[seed % 2] / f"{seed}.png", seed, size=(8, 8))
    return tmp_path / "raw"


def command(root: Path, out: Path, *options: str) -> list:
    small = ("--size", "8", "--segments", "4", "--shard-size", "4", "--jobs", "1", *QUICK)
    return ["build", "folder", "--root", root, "--out", out, *small, *options]


def test_a_folder_of_classes_is_divided_recorded_and_repaired(plain, tmp_path):
    out = tmp_path / "x.h5"
    assert here(*command(plain, out)).exit_code == 2
    assert here(*command(plain, out, "--split", "val=0.2,test=0.3")).exit_code == 0
    store = Store(out)
    assert list(store.splits) == ["train", "val", "test"]
    assert sum(len(layout) for layout in store.splits.values()) == 24
    assert all(entry["divided"] == "val=0.2,test=0.3" for entry in store.document["splits"].values())
    assert "train: divided by --split val=0.2,test=0.3" in here("inspect", out).output
    shard = next((tmp_path / "x.shards" / "train" / "images").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    repaired = here("verify", out, "--repair", "--root", plain, "--jobs", 1)
    assert repaired.exit_code == 0, repaired.output
    again = here(*command(plain, out, "--split", "val=0.2,test=0.3"))
    assert "nothing to do" in again.output
    other = here(*command(plain, out, "--split", "test=0.5"))
    assert other.exit_code == 1
    assert "--split" in other.output


def test_the_rule_is_part_of_the_content_key(plain, tmp_path):
    """An image set that a rule chose is another one than the same images from folders, although no pixel differs."""
    keys = []
    for name, options in (("rule", ("--split", "train")), ("plain", ())):
        root = plain if options else tmp_path / "divided"
        if not options:
            (root).mkdir()
            (root / "train").symlink_to(plain)
        assert here(*command(root, tmp_path / f"{name}.h5", *options)).exit_code == 0
        columns = Store(tmp_path / f"{name}.h5").document["splits"]["train"]["columns"]
        keys.append({column["content_key"] for column in columns.values()})
    assert keys[0].isdisjoint(keys[1])


def test_only_the_splits_that_are_asked_for_are_built(plain, tmp_path):
    done = here(*command(plain, tmp_path / "x.h5", "--split", "val=0.2,test=0.3", "--splits", "train,validation"))
    assert done.exit_code == 0, done.output
    assert list(Store(tmp_path / "x.h5").splits) == ["train", "val"]


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (("val=0.2,test=0.3",), ("train", "--update"), "--split of test: stored val=0.2,test=0.3, requested train"),
        (("val=0.5", "--splits", "val"), ("val=0.2", "--splits", "train"), "val: stored val=0.5, requested val=0.2"),
        (("train",), ("val=0.2", "--splits", "val"), "--split of train: stored train, requested val=0.2"),
    ],
)
def test_no_split_that_stays_may_be_divided_otherwise(plain, tmp_path, first, then, said):
    """Its images would be in the new one too: tested on what was learnt."""
    out = tmp_path / "x.h5"
    assert here(*command(plain, out, "--split", *first)).exit_code == 0
    other = here(*command(plain, out, "--split", *then))
    assert other.exit_code == 1
    assert said in other.output
    assert "apply the changes with --update" not in other.output


def test_a_split_of_the_source_is_added_to_those_that_a_rule_made(plain, tmp_path):
    out, root = tmp_path / "x.h5", tmp_path / "both"
    for split in ("train", "test"):
        shutil.copytree(plain, root / split)
    assert here(*command(root, out, "--split", "val=0.2", "--splits", "train,val")).exit_code == 0
    assert here(*command(root, out, "--splits", "test")).exit_code == 0
    assert list(Store(out).splits) == ["train", "val", "test"]


def test_a_store_that_is_updated_to_another_rule_has_its_content_keys(plain, tmp_path):
    """Also if the rules choose the same images."""
    assert here(*command(plain, tmp_path / "x.h5", "--split", "test=0.3")).exit_code == 0
    before = Store(tmp_path / "x.h5").content_keys
    for options in ((tmp_path / "x.h5", "--update"), (tmp_path / "fresh.h5",)):
        done = here(*command(plain, *options, "--split", "test=0.300001"))
        assert done.exit_code == 0, done.output
    found, fresh = Store(tmp_path / "x.h5"), Store(tmp_path / "fresh.h5")
    assert found.keys("test") == fresh.keys("test")
    assert found.content_keys == fresh.content_keys
    assert set(before.values()).isdisjoint(fresh.content_keys.values())
