"""Any folder of images."""

from pathlib import Path

import pytest

from preprocess.datasets import DATASETS, Request
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


def test_two_unicode_forms_of_a_name_are_one_class(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    tree(tmp_path, f"train/{composed}/1.png", f"train/{apart}/2.png", "train/z/0.png", f"test/{apart}/3.png")
    tree(tmp_path, "test/z/0.png")
    listing = DATASETS["folder"].find(tmp_path)
    assert listing.classes == (composed, "z")
    found = {sample.key: sample.label for samples in listing.splits.values() for sample in samples}
    assert found == {  # keys stay the names on the disk
        f"train/{composed}/1.png": 0,
        f"train/{apart}/2.png": 0,
        "train/z/0.png": 1,
        f"test/{apart}/3.png": 0,
        "test/z/0.png": 1,
    }


def test_folders_without_an_end_are_named(tmp_path):
    here = tmp_path / "train" / "a"
    here.mkdir(parents=True)
    for _ in range(110):
        here /= "x"
        here.mkdir()
    with pytest.raises(DatasetError, match="more than 100 deep"):
        DATASETS["folder"].find(tmp_path)


def noted(root: Path) -> str:
    return "\n".join(DATASETS["folder"].find(root).notes)


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (("images/a/1.png", "images/b/2.png"), ("a", "b")),  # beside folders of words, as in Food-101 and DTD
        (("x/y/z/a/1.png", "x/y/z/b/2.png"), ("a", "b")),
        (("a/1.png",), ("a",)),
        (("a/x/1.png",), ("a",)),
        (("a/x/1.png", "a/2.png"), ("a",)),
        (("train/all/a/1.png", "train/all/b/2.png", "test/all/a/3.png"), ("a", "b")),  # as unpacked twice
        (("train/a/2019/1.png", "train/a/0.png"), ("a",)),
    ],
)
def test_folders_that_only_hold_the_classes_are_passed(tmp_path, files, classes):
    tree(tmp_path, *files)
    (tmp_path / "meta" / "deep").mkdir(parents=True)
    (tmp_path / "meta" / "labels.txt").write_text("words")
    assert DATASETS["folder"].find(tmp_path).classes == classes


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        (
            ("c/a/1.png", "gray/a/1.png", "gray/b/1.png"),
            "folders below are the classes (a), choose one of these with --root: ROOT/c or ROOT/gray",
        ),
        (
            ("fold0/a/1.png", "fold0/b/1.png", "fold1/a/1.png", "fold1/b/1.png"),
            "all of them hold the same folders (a, b), as splits do: rename them to train, val or test; or, if each is "
            "a whole set, choose one of these with --root: ROOT/fold0 or ROOT/fold1",
        ),
        (
            ("train/a/p/1.png", "train/b/q/2.png"),
            "folders below are the classes (p, q), move them up into one folder, or list",
        ),
        (("seg_train/1.png", "seg_pred/1.png"), "seg_train in ROOT are taken for classes; if they are splits, rename"),
        (("Train Images/1.png", "b/1.png"), "Train Images in ROOT are taken for classes; if they are splits, rename"),
        (("JPEGImages/1.png", "b/1.png"), "JPEGImages in ROOT may be no classes"),
        (
            ("train/bird/jay/1.png", "train/bird/crow/2.png", "train/fish/3.png"),
            "images in folders below a class are taken for images of that class: bird/crow, bird/jay; if these",
        ),
        (("a/images/1.png", "a/masks/2.png", "b/3.png"), "taken for images of that class: a/images, a/masks;"),
        (("train/owl/1.png", "val/owl/1.png"), "there is one class only in ROOT/train: 'owl'"),
    ],
)
def test_classes_that_may_be_none_are_told(tmp_path, files, warning):
    assert warning.replace("ROOT", str(tmp_path)) in noted(tree(tmp_path, *files))


@pytest.mark.parametrize(
    ("folders", "note"),
    [
        (("train", "val", "test"), []),
        (("TRAIN", "Test"), []),
        (("Training", "dev", "Evaluation"), ["splits: Training is train, dev is val, Evaluation is test"]),
    ],
)
def test_what_other_names_of_splits_are_taken_for_is_said(tmp_path, folders, note):
    root = tree(tmp_path, *(f"{folder}/{name}/1.png" for folder in folders for name in "ab"))
    assert list(DATASETS["folder"].find(root).notes) == note


USUAL = pytest.mark.parametrize(
    "files",
    [
        ("a/1.png", "b/1.png"),
        ("a/images/1.png", "b/images/1.png"),  # as in Tiny-ImageNet
        ("a/x/1.png", "b/1.png"),
        ("train/a/1.png", "train/contest/1.png", "test/a/1.png", "test/contest/1.png"),
    ],
)


def test_steam_trains_are_classes(tmp_path):
    names = ("bullet_train", "bus", "contest", "restrained", "steam_train", "training shoe", "valley")
    assert DATASETS["folder"].find(tree(tmp_path, *(f"{name}/1.png" for name in names))).classes == names


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        (("a/1.png", "a/1_mask.png", "b/2 (0).png", "b/2 (0)_mask_1.png"), "named as masks of others: 2, such as"),
        (("a/images/1.png", "a/masks/1.png", "b/images/2.png"), "the classes hold folders called images, masks, whose"),
        (("a/x.png", "a/x-segmentation.png", "b/1.png"), "named as masks of others: 1, such as ROOT/a/x-seg"),
        (
            ("yes/1.png", "no/1.png", "all/yes/1.png", "all/no/1.png"),
            "class 'all' holds folders with names of classes",
        ),
    ],
)
def test_masks_and_copies_of_the_set_are_told(tmp_path, files, warning):
    assert warning.replace("ROOT", str(tmp_path)) in noted(tree(tmp_path, *files))


@pytest.mark.parametrize("files", [("a/mask_1.png", "b/mask.png"), ("face_mask/1.png", "no_mask/1_mask.png")])
def test_masks_that_are_of_no_image_are_images(tmp_path, files):
    assert "masks of others" not in noted(tree(tmp_path, *files))


@USUAL
def test_usual_classes_raise_no_doubt(tmp_path, files):
    assert noted(tree(tmp_path, *files)) == ""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train_mini/1.png", "val/1.png", "public_test/1.png"), "public_test, train_mini, val are words for splits"),
        (("rps/1.png", "test/1.png", "val/1.png"), "test, val are words for splits"),
        (
            ("rps/1.png", "rps-test-set/1.png", "rps-valid/1.png"),
            "rps-test-set, rps-valid are words for splits",
        ),
        (("Final_Training/1.png", "Final_Test/1.png"), "rename the folder of the images for training to train"),
        (("trainset/a/1.png", "testset/a/1.png"), "testset, trainset are words for splits and not for classes; rename"),
        (("TrainData/a/1.png", "ValData/a/1.png"), "TrainData, ValData are words for splits"),
        (("trn/a/1.png", "tst/a/1.png"), "trn, tst are words for splits"),
        (("trainval/a/1.png", "birdsTest/a/1.png"), "birdsTest, trainval are words for splits"),
        (("images/1.png", "annotations/2.png"), "annotations, images hold images but are no names of classes"),
        (("train/images/1.png", "val/images/1.png"), "train: images hold images .* build table --table FILE"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path, files, message):
    with pytest.raises(DatasetError, match=message):
        DATASETS["folder"].find(tree(tmp_path, *files))


@pytest.mark.parametrize(
    ("learnt", "other"), [("Cat", "cat"), ("1", "01"), ("sky surfing", "sky surfing "), ("big cat", "big_cat")]
)
def test_a_class_that_train_has_under_almost_that_name_is_told(tmp_path, learnt, other):
    with pytest.raises(DatasetError) as caught:
        DATASETS["folder"].find(tree(tmp_path, f"train/{learnt}/1.png", "train/zebu/2.png", f"val/{other}/3.png"))
    told = f"no network can learn: {other!r} (train/ has {learnt!r}); if these are one class, give it one name; else"
    assert told in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    root = tree(tmp_path, "bus/1.png", "car/2.png", "train/3.png")
    (tmp_path / "docs").mkdir()
    listing = DATASETS["folder"].find(root)
    assert (listing.classes, listing.undivided) == (("bus", "car", "train"), True)
    assert "train in" in noted(root)
    assert "are taken for classes; if they are splits" in noted(root)


@pytest.mark.parametrize("beside", [("test/1.png", "extra/2.png"), ("extra/a/2.png",)])
def test_a_flat_train_folder_beside_others_is_no_class(tmp_path, beside):
    with pytest.raises(DatasetError, match="extra/ holds images"):
        DATASETS["folder"].find(tree(tmp_path, "train/0.png", *beside))


def test_splits_deep_inside_say_which_root_to_give(tmp_path):
    deep = tmp_path / "a" / "b" / "c"
    tree(deep, "train/x/0.png", "train/y/1.png", "test/x/2.png")
    with pytest.raises(DatasetError, match=rf"the splits test, train lie deep in other folders; give --root {deep}"):
        DATASETS["folder"].find(tmp_path)
    assert list(DATASETS["folder"].find(deep).splits) == ["train", "test"]


@pytest.mark.parametrize(("splits", "advice"), [(("train", "test"), "train"), (("test",), "train"), (None, "train")])
def test_a_split_without_classes_can_be_left_out_as_the_error_says(tmp_path, splits, advice):
    root = tree(tmp_path, "train/a/0.png", "test/1.png")
    (root / "docs").mkdir()
    with pytest.raises(DatasetError, match=rf"leave the split out with --splits {advice}$"):
        DATASETS["folder"].find(root, Request(splits))
    assert list(DATASETS["folder"].find(root, Request((advice,))).splits) == ["train"]


def test_no_name_that_a_store_cannot_take_is_advised_for_a_split(tmp_path):
    root = tree(tmp_path, "train/a/0.png", "not labelled/a/1.png")
    with pytest.raises(DatasetError, match=r"rename it, or leave it out with --splits train$"):
        DATASETS["folder"].find(root)


def test_splits_inside_of_classes_are_told_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match=r"if these are classes, move their images into train/<class>"):
        DATASETS["folder"].find(tree(tmp_path, "a/train/0.png", "a/test/1.png", "b/train/2.png"))
