"""CUB-200-2011 in its official layout: eleven classes of two pictures, so that 10 comes after 9."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.datasets import DATASETS
from preprocess.errors import DatasetError
from preprocess.store import Store
from tests.conftest import paint

CLASSES = (
    "001.Black_footed_Albatross",
    "002.Laysan_Albatross",
    "003.Sooty_Albatross",
    "004.Groove_billed_Ani",
    "005.Crested_Auklet",
    "006.Least_Auklet",
    "007.Parakeet_Auklet",
    "008.Rhinoceros_Auklet",
    "009.Brewer_Blackbird",
    "010.Red_winged_Blackbird",
    "011.Rusty_Blackbird",
)
PICTURES = [f"{name}/{name[4:]}_{number:04d}.jpg" for name in CLASSES for number in (46, 9)]
IN_TRAIN = "0110101100101101001110"  # one digit for each picture


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The folder ``CUB_200_2011``."""
    home = tmp_path / "data" / "raw" / "cub" / "CUB_200_2011"
    for seed, name in enumerate(PICTURES):
        paint(home / "images" / name, seed, size=(12, 10))
    tables = {
        "classes.txt": CLASSES,
        "images.txt": PICTURES,
        "image_class_labels.txt": [1 + index // 2 for index in range(22)],
        "train_test_split.txt": IN_TRAIN,
        "bounding_boxes.txt": ["1.0 2.0 8.0 7.0"] * 22,
    }
    for name, values in tables.items():
        (home / name).write_text("".join(f"{number} {value}\n" for number, value in enumerate(values, start=1)))
    return home


@pytest.mark.parametrize("root", ["folder", "parent"])
def test_the_official_split_labels_and_names_are_taken(official, root):
    listing = DATASETS["cub"].find(official if root == "folder" else official.parent)
    assert listing.classes == CLASSES
    found = {split: [(sample.key, sample.label) for sample in samples] for split, samples in listing.splits.items()}
    # Picture 2 is the second of class 1, picture 3 the first of class 2, ...; labels count from 0.
    assert found["train"] == [
        (PICTURES[number - 1], (number - 1) // 2) for number in (2, 3, 5, 7, 8, 11, 13, 14, 16, 19, 20, 21)
    ]
    assert found["test"] == [
        (PICTURES[number - 1], (number - 1) // 2) for number in (1, 4, 6, 9, 10, 12, 15, 17, 18, 22)
    ]
    assert found["train"][0] == ("001.Black_footed_Albatross/Black_footed_Albatross_0009.jpg", 0)
    assert found["test"][-1] == ("011.Rusty_Blackbird/Rusty_Blackbird_0009.jpg", 10)
    for samples in listing.splits.values():
        assert all(sample.path == official / "images" / sample.key for sample in samples)


def test_the_command_reads_data_raw_cub_and_writes_one_split_to_data_cub(official, tmp_path, run):
    options = ("--size", "16", "--segments", "4", "--jobs", "1", "--splits", "test", "--partial")
    done = run("-m", "preprocess", "build", "cub", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "data" / "cub.h5")
    assert (store.dataset, store.classes) == ("cub", CLASSES)
    assert list(store.splits) == ["test"]
    assert store.labels("test").tolist() == [0, 1, 2, 4, 4, 5, 7, 8, 8, 10]
    assert store.keys("test")[0] == PICTURES[0]


def rewritten(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("train_test_split.txt", rewritten("22 0\n", ""), "different image ids"),
        ("image_class_labels.txt", rewritten("22 11\n", "23 11\n"), "different image ids"),
        ("images.txt", rewritten(f"5 {PICTURES[4]}\n", ""), "different image ids"),
        ("classes.txt", rewritten(f"11 {CLASSES[10]}\n", ""), "class 11, not in classes.txt"),
        ("image_class_labels.txt", rewritten("\n7 4\n", "\nseven 4\n"), "line 7: expected 'id value', got 'seven 4'"),
        ("train_test_split.txt", rewritten("22 0\n", "22 2\n"), "train_test_split.txt"),
        ("images.txt", lambda text: text + f"8 {PICTURES[0]}\n", "images.txt"),
    ],
    ids=["no split", "other id", "no path", "no class", "no number", "split 2", "an id twice"],
)
def test_tables_that_do_not_agree_are_refused(official, table, change, message):
    path = official / table
    path.write_text(change(path.read_text()))
    with pytest.raises(DatasetError, match=message) as caught:
        DATASETS["cub"].find(official)
    assert str(official) in str(caught.value)


def test_a_missing_table_is_named(official):
    (official / "train_test_split.txt").unlink()
    with pytest.raises(DatasetError, match=r"train_test_split\.txt cannot be read: No such file.*copy it from the"):
        DATASETS["cub"].find(official)


def masked(home: Path) -> None:
    """Masks 12 x 10 of the first two pictures: grey around white, and nothing."""
    for name, marks in zip(PICTURES, (((1, 2, 9, 8, 100), (3, 4, 7, 6, 255)), ()), strict=False):
        mask = np.zeros((10, 12), np.uint8)
        for x0, y0, x1, y1, value in marks:
            mask[y0:y1, x0:x1] = value
        path = (home / "segmentations" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)


@pytest.mark.parametrize("beside", ["images", "the folder"])
def test_without_boxes_those_around_masks_are_kept(official, beside):
    home = official if beside == "images" else official.parent
    masked(home)
    (official / "bounding_boxes.txt").unlink()
    listing = DATASETS["cub"].find(official.parent)
    boxes = {each.key: each.boxes for samples in listing.splits.values() for each in samples}
    assert boxes.pop(PICTURES[0]) == ((3.0, 4.0, 7.0, 6.0),)  # most people marked this part
    assert set(boxes.values()) == {()}
    assert listing.notes[-1] == (
        f"boxes: around the masks in {home / 'segmentations'}, of 2 of 22 images; the masks are not stored"
    )
    assert (home / "segmentations" / PICTURES[0]).with_suffix(".png") in listing.tables


def test_beside_boxes_masks_are_named_as_not_stored(official):
    masked(official)
    listing = DATASETS["cub"].find(official)
    assert {each.boxes for samples in listing.splits.values() for each in samples} == {((1.0, 2.0, 9.0, 9.0),)}
    assert listing.notes[-1].startswith(f"not stored: the masks in {official / 'segmentations'}")


def test_a_mask_that_cannot_be_read_is_named(official):
    masked(official)
    (official / "bounding_boxes.txt").unlink()
    (official / "segmentations" / PICTURES[0]).with_suffix(".png").write_bytes(b"no mask")
    with pytest.raises(DatasetError, match=r"0046\.png cannot be read: .*; replace or remove it"):
        DATASETS["cub"].find(official)
