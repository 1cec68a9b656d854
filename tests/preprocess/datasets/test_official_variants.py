"""Published sets as people have them: other versions, copies, halves, tables that somebody edited."""

import csv
import io
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocess.datasets import DATASETS, Listing, Request
from preprocess.errors import DatasetError, MissingDataError
from preprocess.store import Store
from tests.preprocess.conftest import here
from tests.preprocess.datasets import official
from tests.preprocess.datasets.official import OFFICIAL

CASES = Path(__file__).parents[3] / ".." / "shared" / "cases"


def find(name: str, root: Path, *splits: str) -> Listing:
    return DATASETS[name].find(root, Request(splits=splits or None))


def told(listing: Listing, split: str) -> list[tuple]:
    return [(sample.key, sample.label, sample.boxes) for sample in listing.splits[split]]


def refused(name: str, root: Path, *splits: str) -> str:
    with pytest.raises(DatasetError) as caught:
        find(name, root, *splits)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- imagenet

# As in Kaggle's table: not sorted, a blank at the end of a row, several boxes.
SOLUTION = (
    "ImageId,PredictionString",
    "ILSVRC2012_val_00000293,n01440764 85 1 499 272 ",
    "ILSVRC2012_val_00000001,n02105855 111 108 441 193 n01440764 5 6 7 8 n02105855 1 2 3 4 ",  # of two classes
    "ILSVRC2012_val_00000236,n01443537 0 0 24 16 ",
    "ILSVRC2012_val_00000106,n02105855",
)
FLAT = [
    ("val/ILSVRC2012_val_00000001.JPEG", 2, ((111.0, 108.0, 441.0, 193.0), (1.0, 2.0, 3.0, 4.0))),
    ("val/ILSVRC2012_val_00000106.JPEG", 2, ()),
    ("val/ILSVRC2012_val_00000236.JPEG", 1, ((0.0, 0.0, 24.0, 16.0),)),
    ("val/ILSVRC2012_val_00000293.JPEG", 0, ((85.0, 1.0, 499.0, 272.0),)),
]


def make_kaggle(home: Path, flat: bool = True) -> Path:
    """The archive of Kaggle's imagenet-object-localization-challenge."""
    data = official.make_imagenet(home / "ILSVRC" / "Data" / "CLS-LOC")
    if flat:
        for path in sorted((data / "val").rglob("*.JPEG")):
            path.rename(data / "val" / path.name)
        for folder in [path for path in (data / "val").iterdir() if path.is_dir()]:
            folder.rmdir()
    official.save_painted(data / "test", ["ILSVRC2012_test_00000001.JPEG"])
    for split in ("train/n01440764", "val"):
        (home / "ILSVRC" / "Annotations" / "CLS-LOC" / split).mkdir(parents=True)
    official.save_lines(home / "LOC_synset_mapping.txt", official.SYNSETS)
    official.save_lines(home / "LOC_val_solution.csv", SOLUTION)
    official.save_lines(
        home / "LOC_train_solution.csv", ["ImageId,PredictionString", "n01440764_18,n01440764 1 2 3 4 "]
    )
    return home


ROOTS = [".", "outer", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"]


@pytest.mark.parametrize("root", ROOTS)
def test_the_tree_of_kaggle_is_listed_from_the_root_of_the_archive_and_from_every_folder_of_it(root, tmp_path):
    home = make_kaggle(tmp_path / "raw" / "imagenet-object-localization-challenge")
    listing = find("imagenet", tmp_path if root == "outer" else home / root)
    assert told(listing, "val") == FLAT
    assert [key for key, _, _ in told(listing, "train")] == [f"train/{name}" for name in official.IMAGENET["train"]]
    assert list(listing.splits) == ["train", "val"]
    assert listing.classes == official.SYNSETS
    assert {path.name for path in listing.tables} == {"LOC_val_solution.csv", "LOC_synset_mapping.txt"}
    assert listing.notes == ("test/ is left out: its images have no labels",)
    assert listing.walked
    assert all(sample.path.is_file() for samples in listing.splits.values() for sample in samples)


def test_the_tables_of_kaggle_are_found_from_inside_the_archive(tmp_path, monkeypatch):
    home = make_kaggle(tmp_path)
    monkeypatch.chdir(home / "ILSVRC" / "Data" / "CLS-LOC")
    assert told(find("imagenet", Path()), "val") == FLAT


def test_the_tree_of_kaggle_with_val_sorted_into_folders_needs_no_table(tmp_path):
    home = make_kaggle(tmp_path, flat=False)
    (home / "LOC_val_solution.csv").unlink()
    assert [key for key, _, _ in told(find("imagenet", home), "val")] == [
        f"val/{name}" for name in official.IMAGENET["val"]
    ]


def test_a_flat_val_beside_train_takes_the_table_beside_it_whatever_val_is_called(tmp_path):
    home = make_kaggle(tmp_path)
    data = home / "ILSVRC" / "Data" / "CLS-LOC"
    (home / "LOC_val_solution.csv").rename(data / "LOC_val_solution.csv")
    data.rename(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "val").rename(tmp_path / "imagenet" / "validation")
    listing = find("imagenet", tmp_path / "imagenet")
    assert [key for key, _, _ in told(listing, "val")] == [f"validation/{Path(key).name}" for key, _, _ in FLAT]


def test_a_flat_val_without_its_table_says_where_the_labels_are(tmp_path):
    home = make_kaggle(tmp_path)
    (home / "LOC_val_solution.csv").unlink()
    message = refused("imagenet", home)
    assert "LOC_val_solution.csv, which has the labels, is neither in" in message
    assert "--splits train" in message
    listing = find("imagenet", home, "train")  # the advice works
    assert (list(listing.splits), listing.notes) == (["train"], ())


def test_val_alone_has_the_classes_of_train(tmp_path):
    listing = find("imagenet", make_kaggle(tmp_path), "val")
    assert (list(listing.splits), told(listing, "val"), listing.classes) == (["val"], FLAT, official.SYNSETS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ILSVRC2012_val_00000236,", "ILSVRC2012_val_00000237,", "has no row for ILSVRC2012_val_00000236.JPEG"),
        ("n01443537 0 0", "n99999999 0 0", "the class 'n99999999' of ILSVRC2012_val_00000236 has no folder in"),
        ("n01443537 0 0 24 16", "n01443537 0 0 24", "line 4: expected 'ImageId,PredictionString', got"),
        ("n01443537 0 0 24 16", "", "line 4: expected 'ImageId,PredictionString', got"),
        ("n01443537 0 0 24 16", "n01443537 0 0 wide 16", "expected 4 numbers, got '0 0 wide 16'"),
    ],
)
def test_a_table_of_kaggle_that_does_not_fit_is_refused(old, new, message, tmp_path):
    table = make_kaggle(tmp_path) / "LOC_val_solution.csv"
    text = table.read_text()
    assert text.count(old) == 1
    table.write_text(text.replace(old, new))
    assert message in refused("imagenet", tmp_path)


def test_images_that_the_table_of_kaggle_lists_and_val_lacks_are_told(tmp_path):
    data = make_kaggle(tmp_path) / "ILSVRC" / "Data" / "CLS-LOC"
    (data / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    warning, _ = find("imagenet", tmp_path).notes
    assert warning == "warning: val/ lacks 1 images of LOC_val_solution.csv, such as ILSVRC2012_val_00000001"


def test_a_val_that_is_half_sorted_is_refused(tmp_path):
    data = make_kaggle(tmp_path) / "ILSVRC" / "Data" / "CLS-LOC"
    (data / "val" / "n01440764").mkdir()
    message = refused("imagenet", tmp_path)
    assert "has class folders, and beside them images such as ILSVRC2012_val_00000001.JPEG" in message


# ----------------------------------------------------------------------------------------------------------- cars


def make_older_cars(home: Path) -> Path:
    """The form with ``car_ims/`` and one table of both splits."""
    rows = [(*row[:5], f"car_ims/{place:06d}.jpg", test) for place, (row, test) in enumerate(OLDER, start=1)]
    official.save_painted(home, [row[5] for row in rows], size=(300, 20))
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    array = np.empty((1, len(rows)), [(field, object) for field in fields])
    for place, row in enumerate(rows):
        array[0, place] = (row[5], *(official.small_integer(value) for value in (*row[:5], row[6])))
    names = official.cells(official.CAR_CLASSES, column=False)
    official.save_matlab(home / "cars_annos.mat", {"annotations": array, "class_names": names})
    return home


OLDER = [*((row, 0) for row in official.CARS["train"]), *((row, 1) for row in official.CARS["test"])]
OLDER_TRAIN = [
    ("car_ims/000001.jpg", 2, ((38.0, 1.0, 260.0, 19.0),)),
    ("car_ims/000002.jpg", 0, ((0.0, 0.0, 300.0, 20.0),)),
    ("car_ims/000003.jpg", 1, ((256.0, 4.0, 258.0, 6.0),)),
]
OLDER_TEST = [
    ("car_ims/000004.jpg", 1, ((29.0, 2.0, 246.0, 14.0),)),
    ("car_ims/000005.jpg", 2, ((99.0, 18.0, 299.0, 20.0),)),
]


@pytest.mark.parametrize("place", ["", "stanford_cars", "archive/car196"])
def test_the_older_cars_have_both_splits_and_the_names_in_one_table(place, tmp_path):
    make_older_cars(tmp_path / place)
    listing = find("cars", tmp_path)
    assert (told(listing, "train"), told(listing, "test")) == (OLDER_TRAIN, OLDER_TEST)
    assert listing.classes == official.CAR_CLASSES
    assert [path.name for path in listing.tables] == ["cars_annos.mat"]
    assert list(find("cars", tmp_path, "test").splits) == ["test"]


def test_the_older_table_beside_the_newer_images_is_not_taken(tmp_path):
    official.make_cars(tmp_path)
    make_older_cars(tmp_path / "older")
    shutil.rmtree(tmp_path / "older" / "car_ims")
    assert [key for key, _, _ in told(find("cars", tmp_path), "test")] == ["cars_test/00001.jpg", "cars_test/00002.jpg"]


def test_cars_whose_test_labels_are_missing_say_which_file_has_them(tmp_path):
    official.make_cars(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(MissingDataError) as caught:
        find("cars", tmp_path)
    assert "labels of the test images, which cars_test_annos.mat of the devkit lacks" in str(caught.value)
    assert "--splits train" in str(caught.value)
    assert list(find("cars", tmp_path, "train").splits) == ["train"]  # the advice works


# -------------------------------------------------------------------------------------------------- tiny-imagenet

TINY_VAL = [
    ("val/{}val_0.JPEG", "n04067472", 2, ((0.0, 32.0, 45.0, 63.0),)),
    ("val/{}val_2.JPEG", "n01443537", 0, ((4.0, 0.0, 64.0, 56.0),)),
    ("val/{}val_10.JPEG", "n02124075", 1, ((10.0, 20.0, 31.0, 41.0),)),
    ("val/{}val_1.JPEG", "n04067472", 2, ((52.0, 55.0, 58.0, 60.0),)),
]


def make_sorted_tiny(home: Path, inside: str, table: bool) -> Path:
    """Tiny-ImageNet as scripts leave it: images of val/ in folders by class."""
    official.make_tiny_imagenet(home)
    for name, wnid, _ in official.TINY_VAL:
        folder = home / "val" / wnid / inside
        folder.mkdir(parents=True, exist_ok=True)
        (home / "val" / "images" / name).rename(folder / name)
    (home / "val" / "images").rmdir()
    if not table:
        (home / "val" / "val_annotations.txt").unlink()
    return home


@pytest.mark.parametrize("inside", ["", "images/"])
def test_a_sorted_val_with_its_table_has_the_official_order_labels_and_boxes(inside, tmp_path):
    make_sorted_tiny(tmp_path, inside, table=True)
    expected = [(key.format(f"{wnid}/{inside}"), label, boxes) for key, wnid, label, boxes in TINY_VAL]
    listing = find("tiny-imagenet", tmp_path)
    assert told(listing, "val") == expected
    assert [told(listing, "train")] == [
        told(find("tiny-imagenet", official.make_tiny_imagenet(tmp_path / "x")), "train")
    ]
    assert all(sample.path == tmp_path / sample.key for sample in listing.splits["val"])
    assert listing.notes == ("test/ is left out: its images have no labels",)


@pytest.mark.parametrize("inside", ["", "images/"])
def test_a_sorted_val_without_its_table_is_listed_by_folder(inside, tmp_path):
    make_sorted_tiny(tmp_path, inside, table=False)
    expected = sorted((key.format(f"{wnid}/{inside}"), label, ()) for key, wnid, label, _ in TINY_VAL)
    assert told(find("tiny-imagenet", tmp_path), "val") == expected


def test_tiny_imagenet_without_any_text_file_has_the_classes_of_train(tmp_path):
    make_sorted_tiny(tmp_path / "deep" / "tiny-imagenet-200", "", table=False)
    for path in tmp_path.rglob("*.txt"):
        path.unlink()
    listing = find("tiny-imagenet", tmp_path)
    assert listing.classes == ("n01443537", "n02124075", "n04067472")
    assert [label for _, label, _ in told(listing, "val")] == [0, 1, 2, 2]
    assert not any(boxes for split in listing.splits for _, _, boxes in told(listing, split))


def test_a_copy_of_val_sorted_beside_the_original_changes_nothing(tmp_path):
    official.make_tiny_imagenet(tmp_path)
    before = told(find("tiny-imagenet", tmp_path), "val")
    for name, wnid, _ in official.TINY_VAL:
        (tmp_path / "val" / wnid).mkdir(exist_ok=True)
        shutil.copy(tmp_path / "val" / "images" / name, tmp_path / "val" / wnid)
    assert told(find("tiny-imagenet", tmp_path), "val") == before


def test_an_image_in_the_folder_of_another_class_is_refused(tmp_path):
    home = make_sorted_tiny(tmp_path, "", table=True)
    (home / "val" / "n04067472" / "val_1.JPEG").rename(home / "val" / "n01443537" / "val_1.JPEG")
    assert "is not in the folder of its class" in refused("tiny-imagenet", home)


def test_a_folder_of_val_that_train_lacks_is_refused(tmp_path):
    home = make_sorted_tiny(tmp_path, "", table=False)
    official.save_painted(home / "val" / "n09999999", ["val_7.JPEG"])
    assert "n09999999 holds images, but train/ has no class" in refused("tiny-imagenet", home)


# ------------------------------------------------------------------------------------------------------------ cub


def make_2010(home: Path) -> Path:
    """CUB-200 of 2010: images and lists of them."""
    paths = [path for path, *_ in official.CUB_IMAGES]
    official.save_painted(home / "images", paths)
    official.save_lines(home / "lists" / "train.txt", paths[1:4])
    official.save_lines(home / "lists" / "test.txt", [paths[0], paths[4]])
    return home


def rows_of(message: str, folder: Path) -> list[tuple[str, ...]]:
    """Run the first command of a message, and read the table that it makes."""
    command, build = (line.strip() for line in message.splitlines()[-2:])
    assert build.startswith("python -m lgcoamix preprocess build table --table list.csv --root ")
    subprocess.run(["sh", "-ec", command], cwd=folder, check=True)
    rows = [tuple(row) for row in csv.reader(io.StringIO((folder / "list.csv").read_text(), newline=""))]
    root = Path(build.split("--root ")[1].strip("'"))
    assert rows[0] == ("path", "label", "split")
    assert all((root / path).is_file() for path, _, _ in rows[1:])
    return rows[1:]


@pytest.mark.parametrize("place", ["", "CUB_200", "my birds/raw"])
def test_cub_of_2010_is_named_and_the_advice_makes_its_table(place, tmp_path):
    make_2010(tmp_path / "set" / place)
    message = refused("cub", tmp_path / "set")
    assert "is CUB-200 of 2010 with 6,033 images, not CUB-200-2011 with 11,788" in message
    images = official.CUB_IMAGES
    splits = ("train", "train", "train", "test", "test")
    expected = [
        (images[i][0], images[i][0].split("/")[0], split) for i, split in zip((1, 2, 3, 0, 4), splits, strict=True)
    ]
    assert rows_of(message, tmp_path) == expected


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize(("mark", "end"), [(", ", "\n"), (",", "\r\n"), (";", "\n"), (" , ", "\n")])
def test_cub_with_other_separators_is_named_and_the_advice_makes_its_table(mark, end, header, tmp_path):
    home = official.make_cub(tmp_path / "my birds")
    for table in home.glob("*.txt"):
        lines = ["id value"] * header + table.read_text().splitlines()
        table.write_bytes("".join(mark.join(line.split(" ", 1)) + end for line in lines).encode())
    message = refused("cub", home)
    got = f"'id{mark}value', a header line, with" if header else f"'1{mark}001.Black_footed_Albatross', with"
    assert f"classes.txt, line 1: expected 'id value', got {got} '{mark.strip()}' for the space" in message
    assert "it is no table of the published set" in message
    assert "unpack" not in message
    expected = [
        (path, official.CUB_CLASSES[number - 1], "train" if train else "test")
        for path, number, train, _ in official.CUB_IMAGES
    ]
    assert rows_of(message, tmp_path) == expected


@pytest.mark.parametrize("words", [("test", "train"), ("False", "True"), ("0.0", "1.0")])
def test_the_advice_joins_tables_of_any_order_by_their_ids(words, tmp_path):
    home = official.make_cub(tmp_path)
    for table in home.glob("*.txt"):
        rows = [line.split(" ", 1) for line in table.read_text().splitlines()]
        if table.name == "train_test_split.txt":
            rows = [(number, words[int(train)]) for number, train in rows]
        rows = rows[::-1] if table.name == "image_class_labels.txt" else rows
        table.write_text("".join(f"{number}, {value}\n" for number, value in rows))
    expected = [
        (path, official.CUB_CLASSES[number - 1], "train" if train else "test")
        for path, number, train, _ in official.CUB_IMAGES
    ]
    assert rows_of(refused("cub", home), tmp_path) == expected
    (home / "train_test_split.txt").unlink()
    message = refused("cub", home)
    assert message.endswith(
        f"one list of path, label and split, which takes train_test_split.txt too: there is none in {home}"
    )


def test_a_header_line_is_named_and_can_be_removed(tmp_path):
    home = official.make_cub(tmp_path)
    whole = {table: table.read_text() for table in home.glob("*.txt")}
    for table, text in whole.items():
        table.write_text("id value\n" + text)
    assert "line 1: expected 'id value', got 'id value', a header line, which no published table has; remove it" in (
        refused("cub", home)
    )


def test_the_advice_builds_the_store_of_the_published_tables(tmp_path, monkeypatch):
    """All of it: both commands that the message of one with commas has, and the store of the same set without them."""
    quick = ("--size", 16, "--segments", 4, "--algorithm", "grid", "--codec", "raw", "--jobs", 1)
    monkeypatch.chdir(tmp_path)
    home = official.make_cub(tmp_path / "birds")
    done = here("build", "cub", "--root", home, "--out", "a.h5", "--partial", *quick)
    assert done.exit_code == 0, done.output
    for table in home.glob("*.txt"):
        table.write_text(table.read_text().replace(" ", ", "))
    message = refused("cub", home)
    rows_of(message, tmp_path)
    words = shlex.split(message.splitlines()[-1])
    assert words[:5] == ["python", "-m", "lgcoamix", "preprocess", "build"]
    done = here(*words[4:], "--out", "b.h5", *quick)
    assert done.exit_code == 0, done.output
    ours, theirs = Store(Path("b.h5")), Store(Path("a.h5"))
    assert ours.classes == theirs.classes
    for split in ("train", "test"):
        assert list(ours.keys(split)) == list(theirs.keys(split))
        assert ours.labels(split).tolist() == theirs.labels(split).tolist()


@pytest.mark.skipif(not (CASES / "layout-cub100").is_dir(), reason="needs ../shared/cases")
def test_the_tables_of_cub100_say_that_they_have_commas():
    message = refused("cub", CASES / "layout-cub100")
    assert "line 1: expected 'id value', got '0, Black_footed_Albatross', with ',' for the space" in message
    assert "build table --table list.csv --root" in message


# --------------------------------------------------------------------------------------------- only what is needed

ONLY_TEST = {
    "dogs": ["test_list.mat"],
    "cars": ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos.mat", "cars_test"],
    "aircraft": ["data/images_variant_test.txt"],
    "cifar10": ["test_batch"],
    "cifar100": ["test"],
    "imagenet": ["val"],
    "tiny-imagenet": ["val"],
}


@pytest.mark.parametrize("name", ONLY_TEST)
def test_the_training_split_needs_no_file_of_the_others(name, tmp_path):
    OFFICIAL[name].make(tmp_path)
    whole = told(find(name, tmp_path), "train")
    for path in ONLY_TEST[name]:
        shutil.rmtree(tmp_path / path) if (tmp_path / path).is_dir() else (tmp_path / path).unlink()
    listing = find(name, tmp_path, "train")
    assert list(listing.splits) == ["train"]
    assert told(listing, "train") == whole


@pytest.mark.parametrize("name", list(OFFICIAL))
def test_each_split_alone_is_the_same_as_among_all(name, tmp_path):
    OFFICIAL[name].make(tmp_path)
    whole = find(name, tmp_path)
    for split in whole.splits:
        alone = find(name, tmp_path, split)
        assert (list(alone.splits), told(alone, split)) == ([split], told(whole, split))
        assert name == "dogs" or alone.classes == whole.classes


@pytest.mark.parametrize("name", list(OFFICIAL))
def test_every_file_is_an_image_of_the_listing_a_table_of_it_or_known_to_be_unused(name, tmp_path):
    OFFICIAL[name].make(tmp_path)
    unused = {
        "dogs": {"file_list.mat"},
        "cars": {"cars_test_annos.mat"},
        "nabirds": {"hierarchy.txt", "sizes.txt", "photographers.txt"},
        "cifar10": {"readme.html"},
        "cifar100": {"file.txt~"},
        "tiny-imagenet": {"test_0.JPEG", "test_1.JPEG"},
    }
    listing = find(name, tmp_path)
    taken = {sample.path for samples in listing.splits.values() for sample in samples} | set(listing.tables)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in taken}
    if name == "aircraft":
        left = {each for each in left if not each.startswith(("images_", "families", "manufacturers"))}
    assert left == unused.get(name, set())
    assert all(path.is_file() for path in listing.tables)


# ------------------------------------------------------------------------------------------------------- remedies


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bytes_with(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new, 1))


AGAIN = "unpack the archive again"
REMEDIES = {
    "missing": ("aircraft", "data/images_variant_test.txt", Path.unlink, "copy it from the published set"),
    "edited": ("nabirds", "train_test_split.txt", bytes_with(b" 1\n", b" 7\n"), "restore the published file"),
    "of another version": ("aircraft", "data/variants.txt", bytes_with(b"MD-11", b"MD-12"), "restore the published"),
    "of another encoding": ("cub", "images.txt", bytes_with(b"Laysan", b"L\xe4ysan"), "save it as UTF-8"),
    "damaged text": ("cub", "images.txt", bytes_with(b"Laysan", b"L\0ysan"), AGAIN),
    "a pickle cut off": ("cifar10", "test_batch", cut, AGAIN),
    "an annotation cut off": ("dogs", "Annotation/n02085620-Chihuahua/n02085620_5927", cut, AGAIN),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_only_what_is_damaged_is_to_be_unpacked_again(case, tmp_path):
    name, table, change, remedy = REMEDIES[case]
    OFFICIAL[name].make(tmp_path)
    before = (tmp_path / table).read_bytes()
    change(tmp_path / table)
    assert not (tmp_path / table).exists() or (tmp_path / table).read_bytes() != before
    message = refused(name, tmp_path)
    assert remedy in message
    assert (AGAIN in message) == (remedy == AGAIN)


def test_a_mark_of_the_byte_order_does_not_hide_the_first_id(tmp_path):
    official.make_cub(tmp_path)
    for table in tmp_path.glob("*.txt"):
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(find("cub", tmp_path).splits["train"]) == 3
