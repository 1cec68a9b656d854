"""Stores from the samples of a Python program, and from listings by an adapter of one's own."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import ToTensor

import preprocess
from preprocess.errors import BuildError, DatasetError, PreprocessError
from preprocess.store import Store
from tests.conftest import ROOT, paint
from tests.preprocess.conftest import QUICK, here

SMALL = {"size": 16, "segments": "4,9", "algorithm": "watershed", "shard_size": 4, "jobs": 1}
COMMAND = ("--size", "16", "--segments", "4,9", "--shard-size", "4", "--jobs", "1", *QUICK)


def built(samples, out: Path, **options) -> Store:
    return preprocess.build_store(samples, out, **SMALL | options)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def by_command(noisy, tmp_path) -> Path:
    assert here("build", "folder", "--root", noisy, "--out", tmp_path / "command.h5", *COMMAND).exit_code == 0
    return tmp_path / "command.h5"


def test_image_folders_give_the_store_of_the_command(noisy, tmp_path, by_command):
    samples = {split: ImageFolder(noisy / split, ToTensor()) for split in ("train", "test")}
    built(samples, tmp_path / "python.h5")
    assert here("diff", by_command, tmp_path / "python.h5").exit_code == 0


def test_paths_give_the_store_of_the_command(noisy, tmp_path, by_command, monkeypatch):
    monkeypatch.chdir(noisy)
    samples = {
        split: [(path, path.parent.name) for path in sorted(Path(split).rglob("*.png"))] for split in ("train", "test")
    }
    built(samples, tmp_path / "python.h5")
    assert here("diff", by_command, tmp_path / "python.h5").exit_code == 0


@pytest.mark.parametrize("kind", ["array", "pillow", "generator", "torch"])
def test_images_that_are_no_files_have_the_pixels_and_maps_of_their_files(noisy, tmp_path, by_command, kind):
    files = sorted((noisy / "train").rglob("*.png"))

    class Read(Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, place):
            image = Image.open(files[place])
            return (image if kind == "pillow" else np.asarray(image)), int(files[place].parent.name == "b")

    class Once:
        def __len__(self):
            return len(files)

        def __iter__(self):
            return (Read()[place] for place in range(len(files)))

    given = (
        Once() if kind == "generator" else Read() if kind == "torch" else [Read()[place] for place in range(len(files))]
    )
    store, expected = built(given, tmp_path / "python.h5", classes=("a", "b")), Store(by_command)
    rows = range(len(files))
    assert store.classes == ("a", "b")
    assert store.keys("train") == [f"train/{row:08d}" for row in rows]
    assert np.array_equal(store.labels("train"), expected.labels("train"))
    assert np.array_equal(store.images("train", rows), expected.images("train", rows))
    for count in (4, 9):
        assert np.array_equal(store.maps("train", count, rows), expected.maps("train", count, rows))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # the scratch file


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((5, 7), 9, np.uint8), (9, 9, 9)),
        (np.full((5, 7, 1), 9, np.uint8), (9, 9, 9)),
        (np.full((5, 7, 3), (1, 2, 3), np.uint8), (1, 2, 3)),
        (np.full((5, 7, 4), (1, 2, 3, 0), np.uint8), (255, 255, 255)),
        (Image.new("CMYK", (7, 5), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.new("P", (7, 5)), (0, 0, 0)),
        (Image.new("1", (7, 5), 1), (255, 255, 255)),
    ],
)
def test_arrays_and_modes_of_every_kind(tmp_path, array, expected):
    store = built([(array, 0), (noise(1, 5, 7, 3), 0)], tmp_path / "x.h5", segments="1", algorithm="grid")
    assert (store.images("train", [0])[0] == expected).all()


def test_a_rotated_photo_stands_upright_as_its_file_does(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(3, 20, 30, 3)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        store = built([(tmp_path / "turned.png", 0), (image, 0)], tmp_path / "x.h5")
    first, second = store.images("train", [0, 1])
    assert np.array_equal(first, second)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_read_as_those_of_a_file(mode, tmp_path):
    values = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    raw = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    Image.frombytes(mode, (6, 5), raw).save(tmp_path / "deep.tiff")
    with Image.open(tmp_path / "deep.tiff") as image:
        assert image.mode == mode
        pairs = [(image, 0), (tmp_path / "deep.tiff", 0)]
        store = built(pairs, tmp_path / "x.h5", resize="none", codec="png", size=None)
    assert np.array_equal(*store.images("train", [0, 1]))
    assert (store.images("train", [0])[0][..., 0] == values >> 8).all()


def test_a_split_without_some_classes_is_told(tmp_path, capfd):
    pictures = [(noise(seed, 6, 6, 3), seed % 3) for seed in range(6)]
    built({"train": pictures, "val": pictures[:2]}, tmp_path / "x.h5")
    assert "warning: the split val lacks 1 of 3 classes: 2; the labels are those of train" in capfd.readouterr().err


def test_labels_are_numbers_or_names(tmp_path):
    pictures = [noise(seed, 6, 6, 3) for seed in range(3)]
    names = built(list(zip(pictures, ("owl", "auk", "owl"), strict=True)), tmp_path / "names.h5")
    assert (names.classes, names.labels("train").tolist()) == (("auk", "owl"), [1, 0, 1])
    numbers = built(list(zip(pictures, (np.int64(0), 3, 1), strict=True)), tmp_path / "numbers.h5")
    assert (numbers.classes, numbers.labels("train").tolist()) == (("0", "1", "2", "3"), [0, 3, 1])


def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"

    class Named(list):
        classes = ("bar", apart)

    pictures = [noise(seed, 6, 6, 3) for seed in range(2)]
    named = built(list(zip(pictures, (composed, apart), strict=True)), tmp_path / "x.h5")
    assert (named.classes, named.labels("train").tolist()) == ((composed,), [0, 0])
    store = built(Named(zip(pictures, (0, 1), strict=True)), tmp_path / "y.h5", classes=[composed, "bar"])
    assert (store.classes, store.labels("train").tolist()) == ((composed, "bar"), [1, 0])
    store = built(Named(zip(pictures, (0, 1), strict=True)), tmp_path / "z.h5", classes=[apart, "bar"])
    assert (store.classes, store.labels("train").tolist()) == ((composed, "bar"), [1, 0])


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "expected samples, got none"),
        ([noise(1, 4, 4, 3)], {}, "sample 0 of train: expected a pair of image and label"),
        ([(noise(1, 4, 4, 3), None)], {}, "expected the number or the name of a class, got NoneType"),
        ([(noise(1, 4, 4, 3), 1.5)], {}, "expected the number or the name of a class, got float"),
        ([(noise(1, 4, 4, 3), -1)], {}, "numbers of classes from 0 on, got -1"),
        ([(noise(1, 4, 4, 3), 2)], {"classes": ("a", "b")}, "the label 2 is none of the 2 classes, 0 to 1"),
        ([(noise(1, 4, 4, 3), "c")], {"classes": ("a", "b")}, "the label 'c' is none of the 2 classes"),
        ([(noise(1, 4, 4, 3), "a"), (noise(1, 4, 4, 3), 0)], {}, "all names or all numbers"),
        ([(noise(1, 4, 4, 3) / 255, 0)], {}, r"got ndarray of float64 \(4, 4, 3\)"),
        ([(noise(1, 4, 4, 2), 0)], {}, r"got ndarray of uint8 \(4, 4, 2\)"),
        ([(noise(1, 0, 4, 3), 0)], {}, "without pixels"),
        (FakeData(2, (3, 8, 8), 2, ToTensor()), {}, "leave out the transforms"),
        ([("../x.png", 0)], {}, r"sample 0 of train: ../x.png is not below the working folder; make it absolute"),
        (["ab"], {}, "expected a pair of image and label, got str"),
        ([{"image": noise(1, 4, 4, 3), "label": 0}], {}, r'such as \(row\["image"\], row\["label"\]\), got dict'),
        ([(noise(1, 4, 4, 3), 10**12)], {}, "expected numbers of classes, 0, 1, 2, ..., got 1000000000000"),
        ({0: [(noise(1, 4, 4, 3), 0)]}, {}, "expected different names of splits, such as train and test, got 0"),
        ({"train": [], "training": []}, {}, "expected different names of splits"),
        (7, {}, "expected pairs of image and label for train, got int"),
        ([("nowhere.png", 0)], {}, "cannot be read: No such file"),
        (
            {"train": [(noise(1, 4, 4, 3), "a")], "test": [(noise(1, 4, 4, 3), "b")]},
            {},
            "the split test has classes that train lacks, which no network can learn: b",
        ),
        ([(noise(1, 4, 4, 3), 0)], {"size": 16, "segments": "9:3"}, "segments: "),
        ([(noise(1, 4, 4, 3), 0)], {"name": "a/b"}, "the name of a data set"),
        ([(noise(1, 4, 4, 3), 0)], {"size": 3}, "size: expected a number from 8 to 4,096, got 3"),
        ([(noise(1, 4, 4, 3), 0)], {"size": 16.0}, "size: expected a number from 8 to 4,096, got 16.0"),
        ([(noise(1, 4, 4, 3), 0)], {"shard_size": 0}, "shard_size: expected a number from 1 to 65,536, got 0"),
        ([(noise(1, 4, 4, 3), 0)], {"jobs": -1}, "jobs: expected a number from 1 to 10,000, got -1"),
        ([(noise(1, 4, 4, 3), 0)], {"codec": "gif"}, "codec: expected auto, raw, jpeg, png, got 'gif'"),
        ([(noise(1, 4, 4, 3), 0)], {"algorithm": "slick"}, "algorithm: expected .*slic, .*, got 'slick'"),
        ([(noise(1, 4, 4, 3), 0)], {"backend": "processes"}, "backend: expected loky, threading, dask, ray, got"),
        ([(noise(1, 4, 4, 3), 0)], {"split": "val=2"}, "split: expected train, or shares between 0 and 1"),
        ([(noise(1, 4, 4, 3), 0)], {"scheduler": "127.0.0.1:1"}, "scheduler: requires the backend dask or ray"),
    ],
)
def test_what_cannot_be_stored_is_told(tmp_path, samples, options, message):
    with pytest.raises(PreprocessError, match=message):
        built(samples, tmp_path / "x.h5", **options)
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob(".*"))


def test_a_length_that_is_not_kept_is_told(tmp_path):
    class Short:
        def __len__(self):
            return 3

        def __iter__(self):
            return iter([(noise(1, 4, 4, 3), 0)])

    with pytest.raises(DatasetError, match="train gave 1 samples, but its len is 3"):
        built(Short(), tmp_path / "x.h5")


def test_a_subset_of_an_image_folder_keeps_its_keys(noisy, tmp_path):
    folder = ImageFolder(noisy / "train")
    store = built(Subset(folder, [7, 0]), tmp_path / "x.h5")
    assert store.keys("train") == ["train/b/2.png", "train/a/0.png"]
    assert store.classes == ("a", "b")


def test_a_split_whose_folder_lacks_classes_keeps_the_labels_of_train(tmp_path, capfd):
    """Each ImageFolder numbers its own classes: 1 is b in train and c in test."""
    for split, names in (("train", "abc"), ("test", "ac")):
        for name in names:
            paint(tmp_path / split / name / "0.png", 1, size=(9, 9))
    samples = {split: ImageFolder(tmp_path / split) for split in ("train", "test")}
    store = built(samples, tmp_path / "x.h5")
    assert store.classes == ("a", "b", "c")
    assert store.labels("test").tolist() == [0, 2]
    assert "the split test lacks 1 of 3 classes: b" in capfd.readouterr().err
    samples["train"] = ImageFolder(tmp_path / "test")
    samples["test"] = ImageFolder(tmp_path / "train")
    with pytest.raises(DatasetError, match=r"the split test has classes that train lacks, .*: b;"):
        built(samples, tmp_path / "y.h5")


@pytest.fixture
def pets(tmp_path) -> dict[str, ImageFolder]:
    """Train numbers cat, dog, emu; val numbers dog, emu, fox, and near numbers dog, emu. Two pictures of each."""
    homes = {"train": ("cat", "dog", "emu"), "val": ("dog", "emu", "fox"), "near": ("dog", "emu")}
    for seed, (home, names) in enumerate(homes.items()):
        for place, name in enumerate(2 * names):
            paint(tmp_path / home / name / f"{place // len(names)}.png", 10 * seed + place, size=(9, 9))
    return {home: ImageFolder(tmp_path / home) for home in homes}


def stored(store: Store, split: str) -> dict[str, str]:
    """Class name by key."""
    return dict(zip(store.keys(split), (store.classes[label] for label in store.labels(split)), strict=True))


def two_of(split: str, *names: str, folder: str = "") -> dict[str, str]:
    return {f"{split}/{folder}{name}/{place}.png": name for name in names for place in range(2)}


def test_parts_of_parts_of_an_image_folder_keep_keys_and_classes(pets, tmp_path):
    train = pets["train"]
    samples = {"train": Subset(Subset(train, [5, 0, 3, -4, 1]), [0, 1, 3]), "val": Subset(train, [2])}
    samples["test"] = ConcatDataset([Subset(train, [3]), ConcatDataset([Subset(train, [5])])])
    store = built(samples, tmp_path / "x.h5")
    assert store.classes == ("cat", "dog", "emu")
    assert stored(store, "train") == {"train/emu/1.png": "emu", "train/cat/0.png": "cat", "train/dog/0.png": "dog"}
    assert stored(store, "val") == {"val/dog/0.png": "dog"}
    assert stored(store, "test") == {"test/dog/1.png": "dog", "test/emu/1.png": "emu"}


@pytest.mark.parametrize(
    "wrap", [lambda folder: ConcatDataset([folder]), lambda folder: Subset(folder, range(len(folder)))]
)
def test_joined_data_sets_are_matched_by_name(wrap, pets, tmp_path):
    store = built({"train": wrap(pets["train"]), "val": wrap(wrap(Subset(pets["near"], range(4))))}, tmp_path / "x.h5")
    assert stored(store, "train") == two_of("train", "cat", "dog", "emu")
    assert stored(store, "val") == two_of("val", "dog", "emu")
    with pytest.raises(DatasetError, match=r"val has classes that train lacks, .*: fox;"):
        built({"train": wrap(pets["train"]), "val": pets["val"]}, tmp_path / "y.h5")


def test_folders_that_are_joined_have_keys_from_the_folder_above_in_any_order(pets, tmp_path):
    paint(tmp_path / "more" / "dog" / "0.png", 99, size=(9, 9))
    paint(tmp_path / "more" / "emu" / "0.png", 98, size=(9, 9))
    pair = pets["near"], ImageFolder(tmp_path / "more")
    more = {"train/more/dog/0.png": "dog", "train/more/emu/0.png": "emu"}
    for name, parts in (("x.h5", pair), ("y.h5", pair[::-1])):
        store = built(ConcatDataset(parts), tmp_path / name)
        assert stored(store, "train") == two_of("train", "dog", "emu", folder="near/") | more
    third = Subset(ConcatDataset(pair), [4, 0])
    assert stored(built(third, tmp_path / "z.h5"), "train") == {
        "train/more/dog/0.png": "dog",
        "train/near/dog/0.png": "dog",
    }


def test_joined_folders_of_other_classes_are_refused_unless_the_classes_are_named(pets, tmp_path):
    joined = pets["train"] + pets["val"]
    with pytest.raises(DatasetError, match="train joins data sets that number different classes: cat, dog, emu and"):
        built(joined, tmp_path / "x.h5")
    assert built(joined, tmp_path / "x.h5", classes="abc").labels("train").tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_classes_are_matched_by_name_in_train_in_other_splits_and_in_joined_folders(pets, tmp_path):
    """The numbers of near are 0 dog, 1 emu, and those of val 0 dog, 1 emu, 2 fox; in classes= these are others."""
    names = ["fox", "emu", "dog", "cat"]
    store = built({"train": pets["train"] + pets["val"], "test": pets["near"]}, tmp_path / "x.h5", classes=names)
    assert store.classes == ("fox", "emu", "dog", "cat")
    joined = two_of("train", "cat", "dog", "emu", folder="train/") | two_of("train", "dog", "emu", "fox", folder="val/")
    assert stored(store, "train") == joined
    assert stored(store, "test") == two_of("test", "dog", "emu")


def test_classes_of_which_the_user_names_a_part_are_refused_where_others_have_images(pets, tmp_path):
    train = pets["train"]
    with pytest.raises(DatasetError, match=r"train has classes that classes= lacks: cat; name there all classes of"):
        built(train, tmp_path / "x.h5", classes=["dog", "emu", "Katze"])
    store = built(Subset(train, [2, 4]), tmp_path / "x.h5", classes=["emu", "dog"])
    assert stored(store, "train") == {"train/dog/0.png": "dog", "train/emu/0.png": "emu"}


def test_classes_of_one_name_are_named_by_their_numbers_and_not_matched(tmp_path):
    class Cranes(list):
        classes = ("crane", "crane", "gull")  # as in ImageNet: a bird and a machine

    class Gulls(list):
        classes = ("gull",)

    pictures = [(noise(seed, 4, 4, 3), seed) for seed in range(3)]
    cranes = Cranes(pictures)
    store = built({"train": cranes, "test": cranes}, tmp_path / "x.h5", classes=["crane bird", "crane", "gull"])
    assert store.labels("train").tolist() == store.labels("test").tolist() == [0, 1, 2]
    with pytest.raises(DatasetError, match="train: two classes are called 'crane', so that its classes cannot be"):
        built({"train": cranes, "test": Gulls([(noise(9, 4, 4, 3), 0)])}, tmp_path / "y.h5", classes=["gull", "a", "b"])


def test_a_number_beyond_the_names_of_its_data_set_is_refused(tmp_path):
    class Three(list):
        classes = ("cat", "dog", "emu")

    class Two(list):
        classes = ("dog", "emu")

    pictures = [(noise(seed, 4, 4, 3), seed) for seed in range(3)]
    with pytest.raises(DatasetError, match="test: the label 2 is none of the 2 classes of its data set"):
        built({"train": Three(pictures), "test": Two(pictures)}, tmp_path / "x.h5")


def test_a_split_that_is_added_alone_has_the_classes_of_the_store(pets, tmp_path, capfd):
    """Near lacks cat, so that its numbers mean others; of the pairs, none is a dog."""
    out = tmp_path / "x.h5"
    built(pets["train"], out)
    assert stored(built({"val": pets["near"]}, out), "val") == two_of("val", "dog", "emu")
    assert "the classes are those of" in capfd.readouterr().err
    store = built({"test": [(noise(1, 6, 6, 3), "emu"), (noise(2, 6, 6, 3), "cat")]}, out)
    assert (store.classes, store.labels("test").tolist()) == (("cat", "dog", "emu"), [2, 0])
    with pytest.raises(DatasetError, match=r"val has classes that the store lacks, .*: fox; give train samples"):
        built({"val": pets["val"]}, out, update=True)
    with pytest.raises(DatasetError, match="the label 'fox' is none of the 3 classes: cat, dog, emu"):
        built({"val": [(noise(3, 6, 6, 3), "fox")]}, out, update=True)
    alone = built({"val": pets["near"]}, tmp_path / "y.h5")
    assert alone.classes == ("dog", "emu")
    assert built({"val": pets["val"]}, tmp_path / "y.h5", update=True).classes == ("dog", "emu", "fox")


class Wrapped(Dataset):
    """A data set of one's own, without the names of classes."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return len(self.folder)

    def __getitem__(self, place):
        return self.folder[place]


class Swapped(Subset):
    def __getitem__(self, place):
        image, label = super().__getitem__(place)
        return image, 2 - label

    def __getitems__(self, places):
        return [self[place] for place in places]


UNNAMED = {
    "paths and numbers": lambda folder: list(folder.samples),
    "a class of one's own": Wrapped,
    "a part with labels of its own": lambda folder: Swapped(folder, range(6)),
    "other numbers": lambda folder: ImageFolder(folder.root, target_transform=lambda label: label),
}


@pytest.mark.parametrize("wrap", UNNAMED.values(), ids=UNNAMED)
def test_numbers_without_names_are_not_taken_for_those_of_another_split(wrap, pets, tmp_path):
    samples = {"train": wrap(pets["train"]), "val": pets["near"]}
    with pytest.raises(DatasetError, match=r"val numbers the classes dog, emu, but the numbers of train have no names"):
        built(samples, tmp_path / "x.h5")
    store = built(samples, tmp_path / "x.h5", classes=["cat", "dog", "emu"])
    swapped = isinstance(samples["train"], Swapped)
    assert sorted(store.labels("train")) == [0, 0, 1, 1, 2, 2]
    assert store.labels("train")[0] == (2 if swapped else 0)
    assert stored(store, "val") == two_of("val", "dog", "emu")
    other = built(samples, tmp_path / "y.h5", classes=["Katze", "Hund", "Emu"])  # names of another kind
    assert other.labels("val").tolist() == [0, 0, 1, 1]


def test_numbers_that_a_program_changes_have_no_names(pets, tmp_path):
    halved = ImageFolder(pets["train"].root, target_transform=lambda label: label // 2)
    store = built(halved, tmp_path / "x.h5")
    assert (store.classes, store.labels("train").tolist()) == (("0", "1"), [0, 0, 0, 0, 1, 1])


def test_what_a_program_makes_of_an_image_folder_is_kept_or_told(noisy, tmp_path, capfd):
    store = built(ImageFolder(noisy / "train", ToTensor(), lambda label: 1 - label), tmp_path / "x.h5")
    assert store.labels("train").tolist() == [1] * 5 + [0] * 5
    assert "warning: the transform of ImageFolder is not applied" in capfd.readouterr().err

    class Black(ImageFolder):
        def __getitem__(self, place):
            return Image.new("RGB", (9, 9)), 0

    assert not built(Black(noisy / "train"), tmp_path / "black.h5").images("train", range(10)).any()


def test_names_of_classes_may_be_tuples_or_an_array(tmp_path):
    class Synonyms(list):
        classes = (("tench", "Tinca tinca"), ("crane",))  # as those of torchvision's ImageNet

    pictures = [(noise(seed, 4, 4, 3), seed) for seed in range(2)]
    assert built(Synonyms(pictures), tmp_path / "x.h5").classes == ("tench, Tinca tinca", "crane")
    assert built(pictures, tmp_path / "y.h5", classes=np.array(["c", "d"])).classes == ("c", "d")


def test_workers_of_an_earlier_build_write_where_the_program_is_now(tmp_path, monkeypatch):
    """They are kept for some seconds, with the working folder that the program had when they started."""
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        paint(Path("0.png"), seed, size=(9, 9))
        store = built([("0.png", 0), (noise(seed, 4, 4, 3), 0)], Path("x.h5"), backend="loky", jobs=2)
        assert here("verify", store.path, "--jobs", 1).exit_code == 0
        same = built([(noise(seed, 4, 4, 3), 0)], Path("y.h5"))
        assert np.array_equal(store.images("train", [1]), same.images("train", [0]))


def test_a_second_call_does_nothing_and_update_takes_what_changed(tmp_path, capfd):
    pictures = [(noise(seed, 6, 6, 3), seed % 2) for seed in range(9)]
    store = built(pictures, tmp_path / "x.h5")
    before = {path: path.stat().st_mtime_ns for path in store.files}
    store = built(pictures, tmp_path / "x.h5")
    assert {path: path.stat().st_mtime_ns for path in store.files} == before
    pictures[4] = (noise(99, 6, 6, 3), 0)
    with pytest.raises(BuildError, match="update"):
        built(pictures, tmp_path / "x.h5")
    store = built(pictures, tmp_path / "x.h5", update=True)
    built(pictures, tmp_path / "fresh.h5")
    assert here("diff", tmp_path / "x.h5", tmp_path / "fresh.h5").exit_code == 0


def test_an_update_of_all_samples_removes_a_split_that_is_not_among_them(tmp_path, capfd):
    train, test = ([(noise(seed, 6, 6, 3), seed % 2) for seed in seeds] for seeds in (range(4), range(4, 6)))
    out = tmp_path / "x.h5"
    built({"train": train}, out)
    built({"test": test}, out)
    assert "still has" not in capfd.readouterr().err
    built({"test": test[::-1]}, out, update=True)
    built({"train": train}, out)
    assert "x.h5 still has test, which the samples lack; update=True removes" in capfd.readouterr().err
    store = built({"train": train + test}, out, update=True)
    assert "test: stored, but not listed; the update removes it" in capfd.readouterr().err
    assert {split: len(layout) for split, layout in store.splits.items()} == {"train": 6}
    built(train + test, tmp_path / "fresh.h5")
    assert here("diff", out, tmp_path / "fresh.h5").exit_code == 0


def test_unusable_images_and_superpixels_beside_others_are_told(tmp_path, capfd):
    paint(tmp_path / "0.png", 0, size=(9, 9))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pairs = [(tmp_path / "0.png", 0), (tmp_path / "bad.png", 0)]
    with pytest.raises(BuildError, match="or publish without them: --skip-bad") as caught:
        built(pairs, tmp_path / "x.h5", segments=[4, 9])
    assert caught.value.__notes__ == [
        "options of the command are arguments of build_store: --skip-bad is skip_bad=True"
    ]
    built(pairs, tmp_path / "x.h5", skip_bad=True)
    assert re.search(r"x.h5 is without 1 unusable images, such as \S*bad.png: no", capfd.readouterr().err)
    store = built(pairs, tmp_path / "x.h5", skip_bad=True, algorithm="grid", segments=4)
    assert store.superpixels.name == "grid-4"
    told = " ".join(capfd.readouterr().err.split())
    assert "has the superpixels grid-4 now, which this store reads; the default is still watershed" in told
    assert "is without 1 unusable images" in told


def test_update_rebuilds_a_damaged_shard(tmp_path):
    pictures = [(noise(seed, 6, 6, 3), seed % 2) for seed in range(9)]
    store = built(pictures, tmp_path / "x.h5")
    shard = next((tmp_path / "x.shards" / "train" / "images").iterdir())
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)
    assert "call preprocess.build_store again with update=True" in here("verify", store.path, "--jobs", 1).output
    told = here("verify", store.path, "--repair", "--jobs", 1)
    assert told.exit_code == 1
    assert "call it again with update=True" in told.output
    built(pictures, tmp_path / "x.h5", update=True)
    assert here("verify", tmp_path / "x.h5", "--jobs", 1).exit_code == 0


def test_two_processes_and_a_kill_give_the_same_store(tmp_path):
    """Workers read the scratch file; one that a kill left is removed, and finished shards are kept."""
    program = textwrap.dedent("""
        import sys
        import numpy as np, preprocess
        random = np.random.default_rng(3)
        pictures = [(random.integers(0, 256, (40, 40, 3), dtype=np.uint8), number % 2) for number in range(160)]
        preprocess.build_store(pictures, sys.argv[1], size=32, segments="4", algorithm="watershed", shard_size=2,
                               jobs=2, backend=sys.argv[2])
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(name: str, backend: str) -> subprocess.Popen:
        command = [sys.executable, "-c", program, str(tmp_path / name), backend]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)

    first = start("killed.h5", "threading")
    images = tmp_path / "killed.shards" / "train" / "images"
    while len(list(images.glob("0*.h5"))) < 4:
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "killed.h5").exists()
    assert list(tmp_path.glob(".killed.h5.*.tmp"))
    for name in ("killed.h5", "whole.h5"):
        done = start(name, "loky")
        _, errors = done.communicate(timeout=120)
        assert done.returncode == 0, errors.decode()
    assert not list(tmp_path.glob(".*"))
    assert here("diff", tmp_path / "killed.h5", tmp_path / "whole.h5").exit_code == 0


ADAPTER = '''
"""Birds."""
from pathlib import Path
from preprocess.datasets import Adapter, Listing, Sample

def find_birds(root):
    """Birds by the first letter of their file."""
    files = sorted(Path(root).glob("*.png"))
    names = tuple(sorted({path.name[0] for path in files}))
    samples = [Sample(path.name, names.index(path.name[0]), path) for path in files]
    return Listing(names, {"train": samples}, undivided=True)

BIRDS = Adapter("birds", lambda root, request: find_birds(root), layout="pictures", size=8)
wrong = lambda root: {"train": []}
number = 7

def only(root, *, fast=True):
    return find_birds(root)

pairs = lambda root: Listing(("a",), {"train": [("a1.png", 0)]})
text = lambda root: Listing(("a",), {"train": [Sample("a1.png", 0, str(root / "a1.png"))]})
names = lambda root: Listing(("a",), {"train": [Sample("a1.png", "a", root / "a1.png")]})
none = lambda root: Listing(("a",), {"train": []})
several = lambda root: Listing(("a",), [Sample("a1.png", 0, root / "a1.png")])
corners = lambda root: Listing(("a",), {"train": [Sample("a1.png", 0, root / "a1.png", ((5.0, 5.0, 2.0, 6.0),))]})
apart = lambda root: Listing(("cafe\u0301", "b"), {"train": [Sample("a1.png", 0, root / "a1.png")]})
infinite = lambda root: Listing(
    ("a",), {"train": [Sample("a1.png", 0, root / "a1.png", ((1.0, 2.0, float("inf"), 4.0),))]}
)
beyond = lambda root: Listing(("a",), {"train": [Sample("a1.png", 1, root / "a1.png")]})
'''


@pytest.fixture
def birds(tmp_path, monkeypatch) -> Path:
    (tmp_path / "birds_of_test.py").write_text(ADAPTER)
    for seed, name in enumerate(("a1", "a2", "b1", "b2")):
        paint(tmp_path / "raw" / f"{name}.png", seed, size=(9, 9))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("birds_of_test", None)


@pytest.mark.parametrize("name", ["find_birds", "BIRDS", "only"])
def test_an_adapter_of_ones_own_lists_images_and_repairs(birds, name):
    given = ("--adapter", f"birds_of_test:{name}", "--root", "raw", "--split", "train")
    done = here("build", "birds", *given, "--out", "x.h5", "--segments", 4, "--jobs", 1, *QUICK)
    assert done.exit_code == 0, done.output
    store = Store("x.h5")
    assert (store.dataset, store.classes, store.keys("train")) == (
        "birds",
        ("a", "b"),
        ["a1.png", "a2.png", "b1.png", "b2.png"],
    )
    assert store.size == (8 if name == "BIRDS" else 256)
    shard = next(Path("x.shards/train/images").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    told = here("verify", "x.h5", "--repair", "--jobs", 1)
    assert "say with --adapter who lists it" in told.output
    assert here("verify", "x.h5", "--repair", *given, "--jobs", 1).exit_code == 0


def test_classes_of_an_adapter_are_stored_in_composed_form(birds):
    given = ("--adapter", "birds_of_test:apart", "--root", "raw", "--out", "x.h5", "--segments", 4, "--jobs", 1)
    done = here("build", "birds", *given, *QUICK)
    assert done.exit_code == 0, done.output
    assert Store("x.h5").classes == ("caf\u00e9", "b")


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        ("nowhere:find", 1, "no module 'nowhere' is in the working folder"),
        ("birds_of_test:find_bird", 1, "did you mean 'find_birds'?"),
        ("birds_of_test:number", 1, "neither an Adapter nor a function of a folder: int"),
        ("birds_of_test:wrong", 1, "returned a dict, expected a preprocess.datasets.Listing"),
        ("birds_of_test:pairs", 1, "expected samples, got tuple; make a Sample(key, label, path)"),
        ("birds_of_test:text", 1, "the path of a sample is str, expected Path: a1.png"),
        ("birds_of_test:names", 1, "the label of a sample is str, expected int: a1.png"),
        ("birds_of_test:none", 1, "lists no images in raw"),
        ("birds_of_test:several", 1, "expected a dictionary of splits, got list"),
        ("birds_of_test:beyond", 1, "expected the number of a class, 0 to 0, for a1.png, got 1"),
        ("birds_of_test:corners", 1, "expected boxes of four numbers x0, y0, x1, y1 in pixels, x0 <= x1"),
        ("birds_of_test:infinite", 1, "for a1.png, got (1.0, 2.0, inf, 4.0)"),
        ("birds_of_test.py", 1, "expected an adapter such as birds:find_birds"),
        ("", 1, "expected an adapter such as birds:find_birds"),
    ],
)
def test_an_adapter_that_is_none_is_told(birds, place, code, message):
    done = here("build", "birds", "--adapter", place, "--root", "raw", "--out", "x.h5")
    assert done.exit_code == code
    assert message in done.output


def test_an_adapter_of_an_installed_package_is_known_by_its_name(birds, monkeypatch):
    home = birds / "installed" / "birds_of_test-1.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: birds_of_test\nVersion: 1\n")
    (home / "entry_points.txt").write_text("[lgcoamix.datasets]\ngarden-birds = birds_of_test:find_birds\n")
    monkeypatch.syspath_prepend(birds / "installed")
    monkeypatch.syspath_prepend(birds)
    done = here("build", "garden-birds", "--root", "raw", "--split", "train", "--out", "x.h5", "--segments", 4, *QUICK)
    assert done.exit_code == 0, done.output
    assert Store("x.h5").dataset == "garden-birds"
    unknown = here("build", "garden-bird", "--root", "raw")
    assert unknown.exit_code == 2


def test_a_picture_of_pillow_that_is_cut_is_told(noisy, tmp_path):
    whole = next((noisy / "train").rglob("*.png")).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(DatasetError, match="sample 0 of train: damaged"):
        built([(image, 0)], tmp_path / "x.h5")
