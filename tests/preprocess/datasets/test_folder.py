"""Any folder of images."""

from pathlib import Path

import pytest

from preprocess.datasets import DATASETS
from preprocess.errors import DatasetError
from tests.conftest import paint


def tree(root: Path, *files: str) -> Path:
    for seed, file in enumerate(files):
        paint(root / file, seed, size=(6, 6))
    return root


def keys(root: Path, split: str) -> list[str]:
    return [sample.key for sample in DATASETS["folder"].find(root).splits[split]]


def test_classes_are_numbered_by_name_and_files_ordered_within_them(tmp_path):
    listing = DATASETS["folder"].find(tree(tmp_path, "train/b/2.png", "train/b/10.png", "train/a/x.png"))
    assert listing.classes == ("a", "b")
    assert [(sample.key, sample.label) for sample in listing.splits["train"]] == [
        ("train/a/x.png", 0),
        ("train/b/10.png", 1),
        ("train/b/2.png", 1),
    ]
    assert all(sample.path == tmp_path / sample.key for sample in listing.splits["train"])


def test_nested_files_belong_to_the_class_above_them(tmp_path):
    assert keys(tree(tmp_path, "train/a/2019/may/1.png", "train/a/0.png"), "train") == [
        "train/a/0.png",
        "train/a/2019/may/1.png",
    ]


@pytest.mark.parametrize(
    "hidden", ["train/a/.1.png", "train/a/.ipynb_checkpoints/0-checkpoint.png", "train/.git/1.png"]
)
def test_hidden_files_and_folders_are_passed_over(tmp_path, hidden):
    assert keys(tree(tmp_path, "train/a/0.png", hidden), "train") == ["train/a/0.png"]


def test_a_root_inside_a_hidden_folder_is_read(tmp_path):
    assert keys(tree(tmp_path / ".cache" / "raw", "train/a/0.png"), "train") == ["train/a/0.png"]


def test_suffixes_in_capitals_count_and_other_files_do_not(tmp_path):
    tree(tmp_path, "train/a/0.JPG", "train/a/1.Png", "train/a/2.jpeg")
    (tmp_path / "train" / "a" / "notes.txt").write_text("not a picture")
    assert keys(tmp_path, "train") == ["train/a/0.JPG", "train/a/1.Png", "train/a/2.jpeg"]


@pytest.mark.parametrize("second", ["test", "val"])
def test_the_second_split_may_be_test_or_val(tmp_path, second):
    listing = DATASETS["folder"].find(tree(tmp_path, "train/a/0.png", f"{second}/a/1.png"))
    assert list(listing.splits) == ["train", second]
    assert [sample.key for sample in listing.splits[second]] == [f"{second}/a/1.png"]


def test_train_val_and_test_are_all_taken(tmp_path):
    listing = DATASETS["folder"].find(tree(tmp_path, "test/a/2.png", "val/a/1.png", "train/a/0.png"))
    assert list(listing.splits) == ["train", "val", "test"]


def test_train_alone_is_enough(tmp_path):
    assert list(DATASETS["folder"].find(tree(tmp_path, "train/a/0.png")).splits) == ["train"]


def test_a_train_folder_without_classes_is_told_the_layout(tmp_path):
    with pytest.raises(DatasetError, match=r"no class folders; expected ROOT/train/<class>"):
        DATASETS["folder"].find(tree(tmp_path, "train/0.png"))
