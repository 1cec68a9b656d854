"""Which images are taken: official counts, exclude lists, a few of each class. By the real command where it says so."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from preprocess.build import settings
from preprocess.datasets import DATASETS, Listing, Sample
from preprocess.errors import DatasetError
from preprocess.raw.selection import (
    check_counts,
    check_names,
    count_differences,
    look_alikes,
    read_exclude_list,
    refuse_unknown_keys,
    select,
)
from preprocess.store import Store
from tests.conftest import paint
from tests.preprocess.conftest import QUICK, build_command, here

# Keys of the fixture `noisy`: 5 training and 3 test pictures of the classes a and b.
TRAIN = [f"train/{name}/{index}.png" for name in "ab" for index in range(5)]
TEST = [f"test/{name}/{index}.png" for name in "ab" for index in range(3)]


def listing(**splits: str) -> Listing:
    """One sample for each letter, which is its class; keys are split, place and letter."""
    return Listing(
        ("a", "b"),
        {
            split: tuple(
                Sample(f"{split}{place}{letter}", "ab".index(letter), Path(__file__))
                for place, letter in enumerate(letters)
            )
            for split, letters in splits.items()
        },
    )


def keys(found: Listing) -> dict[str, list[str]]:
    return {split: [sample.key for sample in samples] for split, samples in found.splits.items()}


def test_the_first_of_each_class_and_split_are_taken():
    found = select(listing(train="baabba", test="ab"), (), 2)
    assert keys(found) == {"train": ["train0b", "train1a", "train2a", "train3b"], "test": ["test0a", "test1b"]}
    assert (found.classes, found.limit, found.excluded) == (("a", "b"), 2, {})


def test_excluded_images_make_room_for_the_next_of_their_class():
    found = select(listing(train="aab", test="ba"), ("train0a", "test1a"), 1)
    assert keys(found) == {"train": ["train1a", "train2b"], "test": ["test0b"]}
    assert found.excluded == {"train": ("train0a",), "test": ("test1a",)}


def test_an_exclude_list_has_comments_and_empty_lines(tmp_path):
    path = tmp_path / "list"
    path.write_text("# overlap\n\n  train/a/0.png \nkey with spaces.png\ntrain/a/0.png\n")
    assert read_exclude_list(path) == ("train/a/0.png", "key with spaces.png")


def test_an_exclude_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="list is not UTF-8 text; expected one key per line"):
        read_exclude_list(tmp_path / "list")


def test_an_unknown_key_is_refused_with_the_one_that_is_near():
    with pytest.raises(DatasetError, match=r"no image has the key train0z; did you mean train0a\?"):
        refuse_unknown_keys(listing(train="ab"), ("train1b", "train0z"))


def test_a_line_may_name_the_split_and_must_where_a_key_is_in_several():
    found = Listing(("a",), {split: tuple(Sample(key, 0, Path(key)) for key in "012") for split in ("train", "test")})
    refuse_unknown_keys(found, ("train\t0", "test\t2"))
    left = select(found, ("train\t0", "test\t2"), None)
    assert keys(left) == {"train": ["1", "2"], "test": ["0", "1"]}
    assert left.excluded == {"train": ("0",), "test": ("2",)}
    with pytest.raises(DatasetError, match="the key 0 is in train, test; in the exclude list write the split, a tab"):
        refuse_unknown_keys(found, ("0",))
    with pytest.raises(DatasetError, match="no image has the key"):
        refuse_unknown_keys(found, ("val\t0",))


OFFICIAL = replace(DATASETS["folder"], counts={"train": 3, "test": 2}, classes=2)


def test_the_official_counts_pass():
    check_counts("birds", OFFICIAL, listing(train="aab", test="ba"))


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (listing(train="ab", test="ba"), ["train: expected 3 images, found 2"]),
        (listing(train="aab"), ["test: expected 2 images, found 0"]),
        (listing(train="aab", test="ba", val="a"), ["val: expected 0 images, found 1"]),
        (replace(listing(train="aab", test="ba"), classes=("a",)), ["expected 2 classes, found 1"]),
        (listing(train="aabb", test=""), ["train: expected 3 images, found 4", "test: expected 2 images, found 0"]),
    ],
)
def test_every_other_count_is_shown(found, lines):
    with pytest.raises(DatasetError) as caught:
        check_counts("birds", OFFICIAL, found)
    assert str(caught.value).splitlines() == [
        "birds differs from the published set:",
        *(f"  {line}" for line in lines),
        "complete it, or use it as it is with --partial",
    ]


@pytest.mark.parametrize("name", ["cub", "cars"])
def test_what_completes_a_set_depends_on_whether_it_can_be_downloaded(name):
    with pytest.raises(DatasetError) as caught:
        check_counts(name, DATASETS[name], listing(train="ab", test="ba"))
    again = "complete it (remove its whole folder and run the same command again), or"
    assert (again in str(caught.value)) == (name == "cub")


def test_the_files_of_a_walk_are_not_looked_at_again(tmp_path):
    gone = tuple(Sample(f"{place}.png", place % 2, tmp_path / f"{place}.png") for place in range(3))
    found = replace(listing(test="ab"), splits={"train": gone, "test": listing(test="ab").splits["test"]})
    assert list(count_differences(OFFICIAL, replace(found, walked=True))) == []
    assert list(count_differences(OFFICIAL, found)) == ["train: 3 files are missing, the first is 0.png"]


@pytest.mark.parametrize("name", [name for name, adapter in DATASETS.items() if adapter.source != "yours"])
def test_every_published_set_states_its_counts(name):
    adapter = DATASETS[name]
    assert set(adapter.counts) in ({"train", "test"}, {"train", "val"}, {"train", "val", "test"})
    assert min(adapter.counts.values()) > 0
    assert adapter.classes > 1


def test_the_command_compares_the_counts_unless_the_set_is_said_to_be_partial(tmp_path):
    root, out = tmp_path / "demo", tmp_path / "demo.h5"
    for name in ("banded-forked", "plain-single"):
        for split in ("train", "test"):
            paint(root / split / name / "0.png", 1)
    command = ("build", "demo", "--root", root, "--out", out, "--size", 16, "--segments", 4, "--jobs", 1, *QUICK)
    done = here(*command)
    assert done.exit_code == 1
    lines = ("train: expected 640 images, found 2", "test: expected 320 images, found 2", "expected 8 classes, found 2")
    assert "\n  ".join(lines) in done.output
    assert not out.exists()
    assert here(*command, "--partial").exit_code == 0
    assert len(Store(out).splits["train"]) == 2


@pytest.fixture
def exclude(tmp_path) -> Path:
    path = tmp_path / "exclude.txt"
    path.write_text("# seen in the test split\ntrain/a/3.png\ntest/b/0.png\n")
    return path


def test_a_store_without_excluded_images_says_so(noisy, tmp_path, exclude):
    out = tmp_path / "x.h5"
    done = here(*build_command(noisy, out, *QUICK, "--exclude", str(exclude))[2:])
    assert done.exit_code == 0, done.output
    store = Store(out)
    assert store.keys("train") == [key for key in TRAIN if key != "train/a/3.png"]
    assert store.keys("test") == [key for key in TEST if key != "test/b/0.png"]
    assert store.document["splits"]["train"]["excluded"] == ["train/a/3.png"]
    told = here("inspect", out).output
    assert "train: 1 images excluded by the user: train/a/3.png" in told
    assert "test: 1 images excluded by the user: test/b/0.png" in told


def test_an_excluded_key_of_a_split_that_is_not_built_is_no_error(noisy, tmp_path, exclude):
    done = here(*build_command(noisy, tmp_path / "x.h5", *QUICK, "--exclude", str(exclude), "--splits", "train")[2:])
    assert done.exit_code == 0, done.output


def test_no_class_may_lose_all_training_images_that_another_split_has():
    whole = listing(train="aab", test="ba", val="a")
    with pytest.raises(DatasetError) as caught:
        select(whole, ("train2b",), None)
    assert str(caught.value) == (
        "without the excluded images, the split test has classes that train lacks, which no network can learn: b; take "
        "lines of train off the exclude list, exclude their images of test as well, or leave the split out: "
        "--splits train"
    )
    assert keys(select(whole, ("train2b", "test0b"), None)) == {
        "train": ["train0a", "train1a"],
        "test": ["test1a"],
        "val": ["val0a"],
    }


def test_a_class_that_train_never_had_is_not_the_exclude_list_s():
    assert keys(select(listing(train="aa", test="ab"), ("train0a",), None))["train"] == ["train1a"]
    assert keys(select(listing(test="ab"), ("test0a",), None)) == {"test": ["test1b"]}


def test_no_split_may_lose_all_images():
    with pytest.raises(DatasetError, match=r"leaves no image of test; .*, or leave the split out: --splits train,val"):
        select(listing(train="ab", test="ba", val="a"), ("test0b", "test1a"), None)
    assert keys(select(listing(train="ab", test=""), (), None))["test"] == []


def test_an_exclude_list_of_a_whole_class_stops_the_command(noisy, tmp_path, exclude):
    out = tmp_path / "x.h5"
    command = build_command(noisy, out, *QUICK, "--exclude", str(exclude))[2:]
    exclude.write_text("\n".join(key for key in TRAIN if "/b/" in key))
    done = here(*command)
    assert done.exit_code == 1
    assert "the split test has classes that train lacks, which no network can learn: b; " in done.output
    assert not out.exists()
    exclude.write_text("\n".join(key for key in (*TRAIN, *TEST) if "/b/" in key))
    done = here(*command)
    assert done.exit_code == 0, done.output
    assert "warning: the exclude list leaves no image of b; networks keep an output for each\n" in done.output
    assert Store(out).classes == ("a", "b")


def test_an_unknown_key_stops_the_command(noisy, tmp_path, exclude):
    exclude.write_text("train/a/33.png\n")
    done = here(*build_command(noisy, tmp_path / "x.h5", *QUICK, "--exclude", str(exclude))[2:])
    assert done.exit_code == 1
    assert "no image has the key train/a/33.png; did you mean train/a/3.png?" in done.output


def test_a_quick_try_takes_a_few_of_each_class_and_the_whole_set_follows_with_update(noisy, tmp_path):
    out = tmp_path / "x.h5"
    command = build_command(noisy, out, *QUICK)[2:]
    assert here(*command, "--limit-per-class", 2).exit_code == 0
    assert Store(out).keys("train") == ["train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/1.png"]
    assert Store(out).keys("test") == ["test/a/0.png", "test/a/1.png", "test/b/0.png", "test/b/1.png"]
    assert "train: limited to 2 images per class" in here("inspect", out).output
    refused = here(*command)
    assert refused.exit_code == 1
    assert "apply the changes with --update" in refused.output
    assert here(*command, "--update").exit_code == 0
    assert Store(out).keys("train") == TRAIN
    assert "limit_per_class" not in json.dumps(Store(out).document)


def test_repair_makes_images_of_a_limited_store_again(noisy, tmp_path, exclude):
    out = tmp_path / "x.h5"
    exclude.write_text("train/a/0.png\ntest/b/0.png\n")
    options = ("--exclude", str(exclude), "--limit-per-class", "3")
    assert here(*build_command(noisy, out, *QUICK, *options)[2:]).exit_code == 0
    shard = next((tmp_path / "x.shards" / "train" / "images").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-7])
    done = here("verify", out, "--repair", "--root", noisy, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert hashlib.sha256(shard.read_bytes()).digest() == hashlib.sha256(whole).digest()


def test_a_key_may_come_once_in_a_split():
    check_names(listing(train="ab", test="ab"))
    twice = listing(train="a").splits["train"] * 2
    with pytest.raises(DatasetError, match="train: the image train0a is listed twice"):
        check_names(Listing(("a",), {"train": twice}))


ODD_KEYS = ("../a.png", "/etc/passwd", "a/../../b", "a//b", "a/./b", "a\0b", "a\nb", "caf\udce9.png", "x" * 256)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_that_leads_out_of_the_folder_is_refused(key):
    with pytest.raises(DatasetError, match="is not a path inside the data set folder"):
        check_names(Listing(("a",), {"train": (Sample(key, 0, Path("x")),)}))


@pytest.mark.parametrize("name", ["", " ", "a\x1b[31m", "a\nb", "caf\udce9", "a\u202eb"])
def test_a_class_name_that_no_terminal_shows_is_refused(name):
    with pytest.raises(DatasetError, match="is not printable UTF-8; rename the class or its folder"):
        check_names(Listing(("a", name), {}))


def test_a_class_name_may_come_once():
    with pytest.raises(DatasetError, match="the class names b are listed twice"):
        check_names(Listing(("b", "a", "b"), {}))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_of_no_class_is_refused(label):
    with pytest.raises(DatasetError, match=f"train: expected the number of a class, 0 to 1, for x.png, got {label}"):
        check_names(Listing(("a", "b"), {"train": (Sample("x.png", label, Path("x")),)}))


def test_a_split_whose_name_no_store_takes_is_refused_before_the_work():
    with pytest.raises(DatasetError, match="the name of the split 'not labelled' is no word"):
        check_names(Listing(("a",), {"not labelled": ()}))


def test_classes_that_look_the_same_are_named():
    names = ("cat", "Cat", "cat ", "dog", "do\u200bg", "\ufb01sh", "fish", "a b", "a  b", "cow", "crow")
    (warning,) = look_alikes(Listing(names, {}))
    for pair in ("'cat' and 'Cat' and 'cat '", "'dog' and 'do\\u200bg'", "'\ufb01sh' and 'fish'", "'a b' and 'a  b'"):
        assert pair in warning
    assert "crow" not in warning
    names = ("0", "1", "01", "10", "100", "n02", "n2", "n20", "big_cat", "big-cat", "bigcat")
    (warning,) = look_alikes(Listing(names, {}))
    assert warning.endswith(
        ": '1' and '01', 'n02' and 'n2', 'big_cat' and 'big-cat'; if they are one class, give it one name"
    )


def test_files_that_differ_only_by_unicode_form_are_named():
    keys = ("caf\u00e9.png", "cafe\u0301.png", "cafe.png")
    samples = tuple(Sample(key, 0, Path(key)) for key in keys)
    (warning,) = look_alikes(Listing(("a",), {"train": samples, "test": samples[:1]}))
    assert "train: 1 images have names that differ only by Unicode form, the first is caf\u00e9.png" in warning


def test_a_build_warns_of_alike_classes_once(noisy, tmp_path):
    shutil.copytree(noisy, tmp_path / "raw")
    for split in ("train", "test"):
        shutil.copytree(noisy / split / "a", tmp_path / "raw" / split / "A")
    done = here(*build_command(tmp_path / "raw", tmp_path / "x.h5", *QUICK)[2:])
    assert done.exit_code == 0
    assert done.stderr.count("'A' and 'a'; if they are one class, give it one name") == 1


def test_images_that_a_table_lists_and_the_disk_lacks_are_counted(tmp_path):
    samples = tuple(Sample(f"{place}.png", 0, tmp_path / f"{place}.png") for place in range(3))
    (tmp_path / "1.png").touch()
    found = Listing(("a", "b"), {"train": samples, "test": listing(test="ab").splits["test"]})
    with pytest.raises(DatasetError, match=r"train: 2 files are missing, the first is 0\.png"):
        check_counts("birds", OFFICIAL, found)


def test_an_exclude_list_of_windows_is_read(tmp_path):
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbftrain/a/0.png\r\n")
    assert read_exclude_list(tmp_path / "list") == ("train/a/0.png",)


def test_a_command_that_forgets_the_exclude_list_is_told(noisy, tmp_path, exclude):
    out = tmp_path / "x.h5"
    command = build_command(noisy, out, *QUICK)[2:]
    assert here(*command, "--exclude", exclude).exit_code == 0
    refused = here(*command)
    assert "images of train: stored without 1 excluded images, requested all images" in refused.output
    assert "repeat --split, --exclude and --limit-per-class for this store" in refused.output
    taken = here(*command, "--update")
    assert taken.exit_code == 0
    assert "train: stored without 1 excluded images; the update stores all images" in taken.output


def test_a_limit_that_takes_all_is_forgotten_with_the_next_build(noisy, tmp_path):
    """Else repair would one day leave out images that came later."""
    out = tmp_path / "x.h5"
    command = build_command(noisy, out, *QUICK)[2:]
    assert here(*command, "--limit-per-class", 50).exit_code == 0
    assert Store(out).document["splits"]["train"]["limit_per_class"] == 50
    assert here(*command).exit_code == 0
    assert "limit_per_class" not in Store(out).document["splits"]["train"]
    assert "nothing to do" in here(*command).output


def test_the_codec_does_not_depend_on_what_is_taken_first(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "_MOST_RAW_BYTES", 3 * 16 * 16 * 15)  # 16 images, 10 of them in train
    for name, options in (("all", ()), ("train", ("--splits", "train")), ("few", ("--limit-per-class", 1))):
        assert here(*build_command(noisy, tmp_path / f"{name}.h5", *QUICK, *options)[2:]).exit_code == 0
        assert Store(tmp_path / f"{name}.h5").document["images"]["codec"] == "jpeg"


def test_an_exclude_list_without_an_end_is_refused(tmp_path):
    (tmp_path / "list").touch()
    os.truncate(tmp_path / "list", 1 << 40)
    with pytest.raises(OSError, match="too large: expected at most 268,435,456 bytes"):
        read_exclude_list(tmp_path / "list")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a FIFO"):
        read_exclude_list(tmp_path / "pipe")
