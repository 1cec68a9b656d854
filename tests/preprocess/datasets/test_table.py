"""Images that a table lists."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from preprocess import Store
from preprocess.datasets import DATASETS, Listing, Request
from preprocess.datasets.rows import LARGEST
from preprocess.errors import DatasetError, MissingDataError
from preprocess.raw.selection import check_names
from tests.conftest import ROOT
from tests.preprocess.conftest import here

CASES = ROOT.parent / "shared" / "cases"
TWO = ("a/1.jpg", "b/2.jpg")
PLAIN = "path,label\na/1.jpg,cat\nb/2.jpg,dog\n"


def files(root: Path, names: Iterable[str] = TWO) -> Path:
    """Empty files: the adapter lists names, and opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def find(root: Path, table: str | bytes, name: str = "list.csv", home: Path | None = None, **wanted: object) -> Listing:
    """Write a table under ``root``, and list it; ``home`` is another root of the images."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    listing = DATASETS["table"].find(home or root, Request(table=(path,), **wanted))
    check_names(listing)
    return listing


def refused(*arguments: object, **wanted: object) -> str:
    with pytest.raises(DatasetError) as caught:
        find(*arguments, **wanted)
    return str(caught.value)


def rows(listing: Listing) -> list[tuple[str, str, str]]:
    """Split, key and class of every sample."""
    return [
        (split, sample.key, listing.classes[sample.label])
        for split, samples in listing.splits.items()
        for sample in samples
    ]


CAT_AND_DOG = [("train", "a/1.jpg", "cat"), ("train", "b/2.jpg", "dog")]


def parquet(**columns: object) -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()


# ------------------------------------------------------------------------------------------------- forms of a table

FORMS = {
    "commas": PLAIN,
    "no header line": "a/1.jpg,cat\nb/2.jpg,dog\n",
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "blanks after commas": PLAIN.replace(",", ", "),
    "quotes": 'path,label\n"a/1.jpg","cat"\n"b/2.jpg",dog\n',
    "a comma in quotes": 'path,note,label\na/1.jpg,"x, y",cat\nb/2.jpg,"say ""z""",dog\n',
    "lines in quotes": 'path,note,label\na/1.jpg,"x\ny",cat\nb/2.jpg,,dog\n',
    "a mark of UTF-8": "\ufeff" + PLAIN,
    "ends of lines of Windows": PLAIN.replace("\n", "\r\n"),
    "ends of lines of old Macs": PLAIN.replace("\n", "\r"),
    "no end of the last line": PLAIN.rstrip(),
    "empty lines": PLAIN.replace("\n", "\n\n \n,\n"),
    "sep= of Excel": "sep=;\n" + PLAIN.replace(",", ";"),
    "Unicode text of Excel": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16 of the other order": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "an index of pandas": ",path,label\n0,a/1.jpg,cat\n1,b/2.jpg,dog\n",
    "words": "a/1.jpg cat\nb/2.jpg dog\n",
    "words in columns": "a/1.jpg    cat\nb/2.jpg \t dog  \n",
    "words below names": "path label\na/1.jpg cat\nb/2.jpg dog\n",
    "comments": "# made by hand\n#\n" + PLAIN,
    "unknown names": "datei,art\na/1.jpg,cat\nb/2.jpg,dog\n",
    "names in odd case": "Image Path,Class_Name\na/1.jpg,cat\nb/2.jpg,dog\n",
    "more columns": "width,FileName,species,height\n3,a/1.jpg,cat,4\n5,b/2.jpg,dog,6\n",
    "empty last columns": "path,label,,\na/1.jpg,cat,,\nb/2.jpg,dog,,\n",
    "names and numbers": "class_id,label,path\n1,cat,a/1.jpg\n0,dog,b/2.jpg\n",
    "backslashes": PLAIN.replace("/", "\\"),
    "./": "path,label\n./a/1.jpg,cat\n ./b//2.jpg ,dog\n",
    "parts that lead back": "path,label\nb/../a/1.jpg,cat\nb/2.jpg,dog\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_all_forms_are_read(tmp_path, form):
    listing = find(files(tmp_path), FORMS[form])
    assert (listing.classes, rows(listing)) == (("cat", "dog"), CAT_AND_DOG)
    assert listing.undivided
    assert [sample.path for sample in listing.splits["train"]] == [tmp_path / key for key in TWO]


def test_a_parquet_table_is_read(tmp_path):
    table = parquet(path=list(TWO), width=[1.5, None], label=["cat", "dog"])
    assert rows(find(files(tmp_path), table, "list.parquet")) == CAT_AND_DOG


def test_a_parquet_table_with_dictionaries_numbers_and_flags_is_read(tmp_path):
    import pyarrow as pa

    table = parquet(
        file_name=pa.array(["a/1.jpg", "b/2.jpg", "a/1.png"]).dictionary_encode(),
        target=[3.0, 4.0, None],
        is_train=[True, True, False],
    )
    listing = find(files(tmp_path, [*TWO, "a/1.png"]), table, "list.bin")
    assert rows(listing) == [("train", "a/1.jpg", "3"), ("train", "b/2.jpg", "4")]
    assert "warning: list.bin: the split test has no labels and is left out: row 3" in listing.notes


def test_a_parquet_table_of_several_groups_and_dictionaries_is_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    names = [f"{number}.jpg" for number in range(500)]
    table = pa.table({"path": names, "label": [f"c{number % 7}" for number in range(500)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=64, dictionary_pagesize_limit=100, write_batch_size=10)
    listing = find(files(tmp_path, names), (tmp_path / "x.parquet").read_bytes(), "x.parquet")
    assert rows(listing) == [("train", name, f"c{number % 7}") for number, name in enumerate(names)]


def test_images_inside_of_parquet_are_said_to_be_read_elsewhere(tmp_path):
    table = parquet(image=[{"bytes": b"x", "path": "1.jpg"}], label=[0])
    told = refused(files(tmp_path), table, "x.parquet")
    assert "no column is known to hold images; its columns are 'label'" in told
    assert "passed over image; images inside of a table are read by build hf" in told


def test_parquet_without_its_library_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refused(tmp_path, b"PAR1", "x.parquet").endswith("Parquet tables need pyarrow: pip install pyarrow")


@pytest.mark.parametrize("names", ["", "image_name  category_label\n"])
def test_a_first_line_that_is_the_number_of_rows_is_left_out(tmp_path, names):
    table = f"2\n{names}a/1.jpg   cat \nb/2.jpg   dog \n\n"
    listing = find(files(tmp_path), table, "list.txt")
    assert rows(listing) == CAT_AND_DOG
    assert listing.notes[0] == "list.txt: left out line 1, the number 2 of its rows"
    assert "has only one column, it begins '4'" in refused(tmp_path, table.replace("2", "4", 1), "list.txt")


def test_a_header_line_below_the_number_of_rows_may_lack_the_name_of_the_first_column(tmp_path):
    table = "2\nMale Young \na/1.jpg -1  1\nb/2.jpg  1  1\n"
    listing = find(files(tmp_path), table, "list_attr.txt", label="Male")
    assert rows(listing) == [("train", "a/1.jpg", "-1"), ("train", "b/2.jpg", "1")]


def test_lines_are_counted_with_one_that_is_left_out(tmp_path):
    assert "line 3: b/3.jpg" in refused(files(tmp_path), "2\na/1.jpg cat\nb/3.jpg dog\n", "list.txt")


LISTS = {
    "paths with blanks": (["my pets/1.jpg", "my pets/2.jpg"], "my pets/1.jpg cat\nmy pets/2.jpg dog\n"),
    "classes with blanks": (["1.jpg", "2.jpg"], "1.jpg golden retriever\n2.jpg cat\n"),
    "ImageNet": (["n01440764/x.JPEG", "n01443537/y.JPEG"], "n01440764/x.JPEG 0\nn01443537/y.JPEG 1\n"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_blanks_in_lines_are_told_by_the_files_that_exist(tmp_path, kind):
    names, text = LISTS[kind]
    listing = find(files(tmp_path, names), text, "train.txt")
    assert [f"{key} {name}" for _, key, name in rows(listing)] == text.splitlines()


def test_lines_of_path_label_and_split_are_read(tmp_path):
    names = ["my pets/1.jpg", "my pets/2.jpg", "b/3.jpg"]
    text = "my pets/1.jpg 0 train\nmy pets/2.jpg 1 train\nb/3.jpg 0 test\n"
    assert rows(find(files(tmp_path, names), text, "all.txt")) == [
        ("train", "my pets/1.jpg", "0"),
        ("train", "my pets/2.jpg", "1"),
        ("test", "b/3.jpg", "0"),
    ]


# ---------------------------------------------------------------------------------------------------------- columns


def test_what_was_guessed_is_said(tmp_path):
    table = "file_name;species;set\na/1.jpg;cat;train\nb/2.jpg;cat;test\n"
    assert find(files(tmp_path), table).notes == (
        "list.csv: cells separated by semicolons, header line; images from column 'file_name', labels from 'species', "
        "split from 'set'",
    )
    assert find(tmp_path, "a/1.jpg cat\nb/2.jpg dog\n", "list.txt").notes == (
        "list.txt: cells separated by the last white space, no header line; images from column 1, labels from 2, no "
        "split",
        "warning: every image has a class of its own; if column '2' is not that of the labels, choose with --label",
    )


def test_columns_are_chosen_by_name(tmp_path):
    table = "a,b,c,d\nx,a/1.jpg,cat,train\ny,b/2.jpg,dog,train\n"
    listing = find(files(tmp_path), table, image="b", label="a", split="d")
    assert rows(listing) == [("train", "a/1.jpg", "x"), ("train", "b/2.jpg", "y")]
    assert not listing.undivided


def test_columns_without_names_are_chosen_by_number(tmp_path):
    table = "a/1.jpg,7,cat\nb/2.jpg,8,dog\n"
    told = refused(files(tmp_path), table)
    assert "labels may be in column 2 or 3; choose with --label NAME" in told
    assert "no header line, its columns are 1 ('a/1.jpg'), 2 ('7'), 3 ('cat')" in told
    assert rows(find(tmp_path, table, label="3")) == CAT_AND_DOG


@pytest.mark.parametrize("first", ["b/9,1", "1,2", "2,1"])
def test_a_number_names_a_column_and_makes_no_header_line(tmp_path, first):
    names = [first.split(",")[0], "q", "r"]
    table = f"{first}\nq,2\nr,2\n"
    for wanted in ({"image": "1"}, {"label": "2", "image": "1"}, {"image": "1", "label": "2"}):
        listing = find(files(tmp_path / "set", names), table, **wanted)
        assert [key for _, key, _ in rows(listing)] == names


def test_numbers_of_pandas_are_a_header_line(tmp_path):
    listing = find(files(tmp_path, ["q", "r"]), "0,1\nq,x\nr,y\n", image="0", label="1")
    assert rows(listing) == [("train", "q", "x"), ("train", "r", "y")]


STUDIES = "MURA/train/p1/study1/,1\nMURA/train/p2/study1/,0\nMURA/train/p3/study1/,0\n"


@pytest.mark.parametrize("root", ["", "MURA"])
@pytest.mark.parametrize("wanted", [{}, {"image": "1"}, {"image": "1", "label": "2"}])
def test_labels_of_folders_are_said_not_to_be_read(tmp_path, root, wanted):
    files(tmp_path, [f"MURA/train/p{number}/study1/image1.png" for number in (1, 2, 3)])
    told = refused(tmp_path, STUDIES, "MURA/list.csv", tmp_path / root, **wanted)
    assert "folders, and labels of folders are not read: write a row for each image in them" in told
    assert "3 of 3 images" in told if wanted else "column 1 names folders" in told


def test_a_header_line_is_known_by_the_name_that_is_asked_for(tmp_path):
    assert rows(find(files(tmp_path, ["1", "2"]), "was,wie\n1,x\n2,y\n", image="was")) == [
        ("train", "1", "x"),
        ("train", "2", "y"),
    ]


def test_a_row_without_its_file_is_no_header_line(tmp_path):
    assert "line 1: a/0.jpg" in refused(files(tmp_path), "a/0.jpg,cat\na/1.jpg,cat\nb/2.jpg,dog\n")


AMBIGUOUS = {
    "two labels": (
        "path,label,species\na/1.jpg,x,y\n",
        "labels may be in column 'label' or 'species'; choose with --label NAME",
    ),
    "two images": ("first,second,label\na/1.jpg,b/2.jpg,x\n", "images may be in column 'first' or 'second'"),
    "images elsewhere than named": (
        "image,mask,label\nq.jpg,b/2.jpg,x\n",
        "images may be in column 'image' or 'mask'; choose with --image NAME",
    ),
    "no labels": ("path,w,h\na/1.jpg,1,2\n", "labels may be in column 'w' or 'h'; choose with --label NAME"),
    "two splits": ("path,label,split,set\na/1.jpg,x,train,test\n", "splits may be in column 'split' or 'set'"),
    "no images": ("a,b,c\nx,y,z\n", "no column is known to hold images"),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_columns_that_cannot_be_told_are_listed_with_the_option(tmp_path, kind):
    table, told = AMBIGUOUS[kind]
    message = refused(files(tmp_path), table)
    assert told in message
    assert all(repr(name) in message or f"({name!r})" in message for name in table.splitlines()[0].split(","))


def test_a_table_without_images_says_so_and_names_its_columns(tmp_path):
    table = "suite_id,sample_id,code,value,character\n1,1,1,0,x\n1,2,10,9,y\n"
    assert refused(files(tmp_path, ["data/input_1_1_1.jpg"]), table) == (
        f"{tmp_path}/list.csv: no column is known to hold images, and none names files that exist under {tmp_path}; "
        "its columns are 'suite_id', 'sample_id', 'code', 'value', 'character'; say --image NAME, or add a column of "
        "their paths to the table"
    )


def test_two_columns_with_the_same_files_are_one(tmp_path):
    table = "filename,path,label\na/1.jpg,./a/1.jpg,cat\nb/2.jpg,./b/2.jpg,dog\n"
    assert rows(find(files(tmp_path), table)) == CAT_AND_DOG


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"label": "labl"}, "no column 'labl' for --label; did you mean 'label'?; its columns are 'path', 'label'"),
        (
            {"label": "path"},
            "--label names column 'path', which is also guessed for --image; choose with --image NAME; its columns are",
        ),
        ({"image": "label", "label": "label"}, "--image, --label and --split name one column twice"),
    ],
)
def test_columns_that_are_asked_for_in_vain_are_refused(tmp_path, wanted, told):
    assert told in refused(files(tmp_path), PLAIN, **wanted)


def test_a_name_that_two_columns_have_is_refused(tmp_path):
    told = refused(files(tmp_path), "path,x,x\na/1.jpg,c,d\n", label="x")
    assert "has 2 columns 'x'; give them different names" in told


# ----------------------------------------------------------------------------------------------------------- labels


def test_numbers_are_classes_in_their_order(tmp_path):
    names = [f"{number}.jpg" for number in range(11)]
    table = "path,label\n" + "".join(f"{name},{10 - place}\n" for place, name in enumerate(names))
    listing = find(files(tmp_path, names), table)
    assert listing.classes == tuple(map(str, range(11)))
    assert [sample.label for sample in listing.splits["train"]] == list(range(10, -1, -1))
    assert listing.notes[-1] == "classes: the numbers from 0 to 10 in column 'label'"


def test_gaps_between_numbers_are_said(tmp_path):
    listing = find(files(tmp_path), "path,label\na/1.jpg,12\nb/2.jpg,3.0\n")
    assert (listing.classes, [each.label for each in listing.splits["train"]]) == (("3", "12"), [1, 0])
    assert listing.notes[-1] == (
        "classes: the numbers from 3 to 12 in column 'label'; there are 2: class 3 has label 0, class 12 label 1"
    )


def test_numbers_with_zeros_before_them_stay_names(tmp_path):
    assert find(files(tmp_path), "path,label\na/1.jpg,007\nb/2.jpg,010\n").classes == ("007", "010")


def test_two_unicode_forms_of_a_label_are_one_class(tmp_path):
    listing = find(files(tmp_path), "path,label\na/1.jpg,cafe\u0301\nb/2.jpg,caf\u00e9\n")
    assert listing.classes == ("caf\u00e9",)


@pytest.mark.parametrize("empty", ["", "NaN", '" "'])
def test_a_row_without_a_label_is_refused_with_its_line(tmp_path, empty):
    told = refused(files(tmp_path), f"path,label\na/1.jpg,cat\nb/2.jpg,{empty}\n")
    assert "no label in line 3, of train; write their labels, or delete these rows" in told


def test_a_test_split_without_labels_is_left_out_with_a_warning(tmp_path):
    table = "path,label,split\na/1.jpg,0,train\nb/2.jpg,-1,test\n"
    listing = find(files(tmp_path), table)
    assert rows(listing) == [("train", "a/1.jpg", "0")]
    assert "warning: list.csv: the split test has no labels and is left out: line 3" in listing.notes
    assert "no label in line 3" in refused(tmp_path, table.replace("-1", ""), splits=("train", "test"))


def test_a_class_that_train_lacks_is_refused_and_one_that_test_lacks_is_said(tmp_path):
    table = "path,label,split\na/1.jpg,cat,train\nb/2.jpg,dog,test\n"
    told = refused(files(tmp_path), table)
    assert "list.csv: the split test has classes that train lacks, which no network can learn: dog" in told
    assert rows(find(tmp_path, table, splits=("train",))) == [("train", "a/1.jpg", "cat")]
    files(tmp_path, ["c/3.jpg"])
    listing = find(tmp_path, table + "c/3.jpg,dog,train\n")
    assert listing.notes[-1] == (
        "warning: list.csv: the split test lacks 1 of 2 classes: cat; the labels are those of train"
    )


@pytest.mark.parametrize(("mark", "warned"), [("|", True), (", ", True), (" or ", False)])
def test_cells_of_several_labels_are_warned_of(tmp_path, mark, warned):
    labels = ["cat", "dog", f"cat{mark}dog", f"cat{mark}cow"]
    table = "path;label\n" + "".join(f"{place}.jpg;{label}\n" for place, label in enumerate([*labels, labels[2]]))
    notes = find(files(tmp_path, [f"{place}.jpg" for place in range(5)]), table).notes
    told = (
        f"warning: list.csv: 2 of 5 rows have several labels in one cell, such as 'cat{mark}dog'; one label per image"
    )
    assert any(note.startswith(told) for note in notes) == warned


# Tables with a column of 0 and 1 for each class; a/1.jpg is of the first class, b/2.jpg of the last.
ONE_HOT = {
    "Roboflow": ("filename, zebra, cow, ape\na/1.jpg, 1, 0, 0\nb/2.jpg, 0, 0, 1\n", "'zebra', 'cow', 'ape'"),
    "ISIC": ("image,MEL,NV\na/1,1.0,0.0\nb/2,0.0,1.0\n", "'MEL', 'NV'"),
    "pandas": (",path,cat,dog\n0,a/1.jpg,True,False\n1,b/2.jpg,False,True\n", "'cat', 'dog'"),
    "a class called train": ("path,bus,train\na/1.jpg,1,0\nb/2.jpg,0,1\n", "'bus', 'train'"),
    "a split beside": ("path,set,x,w\na/1.jpg,train,1,0\nb/2.jpg,train,0,1\n", "'x', 'w'"),
    "numbers": ("path,7,3\na/1.jpg,1,0\nb/2.jpg,0,1\n", "'7', '3'"),
}


@pytest.mark.parametrize("kind", ONE_HOT)
def test_columns_of_0_and_1_are_classes_in_their_order(tmp_path, kind):
    table, told = ONE_HOT[kind]
    names = [name.strip("'") for name in told.split(", ")]
    listing = find(files(tmp_path / "set"), table)
    assert listing.classes == (names[0], names[-1])
    assert rows(listing) == [("train", "a/1.jpg", names[0]), ("train", "b/2.jpg", names[-1])]
    assert f"labels from the columns of 0 and 1 {told}, " in listing.notes[0]
    warning = "warning: no image of train has a 1 in cow, no class"
    assert (warning in listing.notes) == ("cow" in names)


@pytest.mark.parametrize("bad", ["1,1", "0,0", "1.0,1.0", "0,2", "1,", "0.5,0.5"])
def test_rows_with_several_labels_or_none_are_refused_with_their_lines(tmp_path, bad):
    many = [f"{number}.jpg" for number in range(60)]
    table = "path,cat,dog\n" + "".join(f"{name},1,0\n" for name in many) + f"a/1.jpg,{bad}\n"
    assert (
        "expected one 1 and else 0 in the columns cat, dog, which are classes; there are several labels, or none, in "
        "line 62; one label per image is read" in refused(files(tmp_path, [*TWO, *many]), table)
    )


@pytest.mark.parametrize(
    "table",
    [
        "path,cat,dog,age\na/1.jpg,1,0,40\nb/2.jpg,0,1,50\n",
        "a/1.jpg,1,0\nb/2.jpg,0,1\n",
        "path,cat,dog\na/1.jpg,1,0\nb/2.jpg,0,2\n",
    ],
)
def test_other_columns_are_not_taken_for_classes(tmp_path, table):
    assert "labels may be in column" in refused(files(tmp_path), table)


def test_a_column_of_labels_is_preferred_to_columns_of_0_and_1(tmp_path):
    table = "path,male,smoker,label\na/1.jpg,1,0,cat\nb/2.jpg,0,1,dog\n"
    assert rows(find(files(tmp_path), table)) == CAT_AND_DOG
    assert find(tmp_path, table.replace("label", "age"), label="male").classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("x x x", "all images are of one class"),
        ("0 0 0", "all images are of one class"),
        ("p q r", "every image has a class of its own"),
        ("17 4 9", "every image has a class of its own"),
        ("p q q", None),
    ],
)
def test_labels_that_tell_nothing_apart_or_everything_are_warned_of(tmp_path, labels, told):
    table = "path,species\n" + "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(labels.split()))
    notes = find(files(tmp_path, ["0.jpg", "1.jpg", "2.jpg"]), table).notes
    ending = "; if column 'species' is not that of the labels, choose with --label"
    assert [note for note in notes if note.startswith("warning")] == ([f"warning: {told}{ending}"] if told else [])


def test_a_part_of_a_name_is_no_y(tmp_path):
    table = "Image Index,Finding,Spacing[x,y]\na/1.jpg,cat,0.1,0.1\nb/2.jpg,dog,0.1,0.1\n"
    assert "labels may be in column 'Finding' or 'Spacing[x' or 'y]'" in refused(files(tmp_path), table)


# ----------------------------------------------------------------------------------------------------------- splits

DIVIDED = {
    "words": ("split", "Train", "VALIDATION", "testing"),
    "others": ("Data Set", "training", "dev", "eval"),
    "an unknown name": ("purpose", "train", "valid", "test"),
}


@pytest.mark.parametrize("kind", DIVIDED)
def test_splits_are_taken_in_all_words(tmp_path, kind):
    name, *words = DIVIDED[kind]
    names = ["1.jpg", "2.jpg", "3.jpg"]
    table = f"path,label,{name}\n" + "".join(f"{each},x,{word}\n" for each, word in zip(names, words, strict=True))
    listing = find(files(tmp_path, names), table)
    assert rows(listing) == [("train", "1.jpg", "x"), ("val", "2.jpg", "x"), ("test", "3.jpg", "x")]
    assert not listing.undivided


@pytest.mark.parametrize(
    ("name", "first", "second", "split"),
    [
        ("is_train", "1", "0", "test"),
        ("train_test_split", "1.0", "0.0", "test"),
        ("is_valid", "False", "True", "val"),
        ("is_test", "no", "yes", "test"),
    ],
)
def test_flags_divide(tmp_path, name, first, second, split):
    listing = find(files(tmp_path), f"path,label,{name}\na/1.jpg,x,{first}\nb/2.jpg,x,{second}\n")
    assert rows(listing) == [("train", "a/1.jpg", "x"), (split, "b/2.jpg", "x")]


def test_a_column_of_folds_is_not_taken_for_the_split(tmp_path):
    listing = find(files(tmp_path), "path,label,fold\na/1.jpg,cat,0\nb/2.jpg,dog,1\n")
    assert listing.undivided
    assert listing.notes[1] == (
        "list.csv: column 'fold' is not taken for the split, its values are no words for train, val or test: '0', '1'"
    )


def test_only_splits_that_are_asked_for_need_their_files(tmp_path):
    table = "path,label,split\na/1.jpg,cat,train\nb/2.jpg,dog,train\nc/3.jpg,dog,test\n"
    listing = find(files(tmp_path), table, splits=("train",))
    assert rows(listing) == CAT_AND_DOG
    files(tmp_path / "c", ["3.jpg"])
    (tmp_path / "a/1.jpg").unlink()
    listing = find(tmp_path, table, splits=("test",))
    assert (listing.classes, rows(listing)) == (("cat", "dog"), [("test", "c/3.jpg", "dog")])


ODD_SPLITS = {
    "another word": (
        "train\nextra",
        "no words for train, val or test: 'extra'; write these words, or leave the others",
    ),
    "nothing": ("train\n", "no split in column 'split' in line 3"),
    "no train": ("test\nval", "no rows of train, which has the classes, in column 'split'; there are val, test"),
}


@pytest.mark.parametrize("kind", ODD_SPLITS)
def test_odd_splits_are_refused(tmp_path, kind):
    values, told = ODD_SPLITS[kind]
    first, second = values.split("\n")
    table = f"path,label,split\na/1.jpg,x,{first}\nb/2.jpg,x,{second}\n"
    assert told in refused(files(tmp_path), table)


def test_a_wrong_word_hides_no_split(tmp_path):
    names = ["1.jpg", "2.jpg", "3.jpg"]
    table = "path,label,purpose\n1.jpg,x,train\n2.jpg,x,trein\n3.jpg,x,test\n"
    told = refused(files(tmp_path, names), table)
    assert "column 'purpose' has values that are no words for train, val or test: 'trein'" in told


def test_a_damaged_first_row_is_no_header_line(tmp_path):
    names = ["1.jpg", "2.jpg", "3.jpg"]
    assert "line 1: 1jpg" in refused(files(tmp_path, names), "1jpg,cat\n2.jpg,cat\n3.jpg,dog\n")
    assert "line 1: a/1jpg" in refused(tmp_path, "a/1jpg,bird\n2.jpg,cat\n3.jpg,dog\n")


def test_a_split_of_another_name_is_taken_if_it_is_asked_for(tmp_path):
    table = "path,label,split\na/1.jpg,x,train\nb/2.jpg,x,extra\n"
    assert rows(find(files(tmp_path), table, splits=("train", "extra")))[1] == ("extra", "b/2.jpg", "x")
    assert "has no rows of the split 'val'; it has train, extra" in refused(tmp_path, table, splits=("val",))


# --------------------------------------------------------------------------------------------------- several tables


def find_all(root: Path, tables: dict[str, str], **wanted: object) -> Listing:
    """Write several tables under ``root``, and list them."""
    for name, text in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    listing = DATASETS["table"].find(root, Request(table=tuple(root / name for name in tables), **wanted))
    check_names(listing)
    return listing


# Names of tables, and their splits.
OF_SPLITS = {
    "lists": ({"train_list.txt": "train", "val_list.txt": "val"}),
    "a folder of lists": ({"meta/test.txt": "test", "meta/train.txt": "train", "meta/val.txt": "val"}),
    "a list for training and validation": ({"trainval.txt": "train", "test.txt": "test"}),
    "numbers": ({"train1.txt": "train", "test1.txt": "test"}),
    "other words": ({"ISIC_2019_Training_GroundTruth.csv": "train", "validation.csv": "val"}),
    "capitals": ({"trainLabels.csv": "train", "TestLabels.csv": "test"}),
    "folders": ({"valid/_classes.csv": "val", "train/_classes.csv": "train"}),
}


@pytest.mark.parametrize("kind", OF_SPLITS)
def test_several_tables_are_of_the_splits_that_their_names_say(tmp_path, kind):
    splits = OF_SPLITS[kind]
    files(tmp_path, [f"jpg/{split}.jpg" for split in splits.values()])
    listing = find_all(tmp_path, {name: f"jpg/{split}.jpg 7\n" for name, split in splits.items()})
    assert rows(listing) == [
        (split, f"jpg/{split}.jpg", "7") for split in ("train", "val", "test") if split in splits.values()
    ]
    assert not listing.undivided
    assert listing.tables == tuple(tmp_path / name for name in splits)
    assert sum("images from column 1" in note for note in listing.notes) == len(splits)
    home = os.path.commonpath([tmp_path / Path(name).parent for name in splits])
    said = [f"{os.path.relpath(tmp_path / name, home)} is {split}" for name, split in splits.items()]
    assert f"splits: {', '.join(said)}" in listing.notes


def test_several_tables_may_have_paths_of_their_own_folders_and_a_column_of_splits(tmp_path):
    files(tmp_path, ["one/1.jpg", "two/2.jpg", "two/3.jpg"])
    tables = {
        "one/a.csv": "file,label,set\n1.jpg,x,train\n",
        "two/b.csv": "file,label,set\n2.jpg,y,train\n3.jpg,y,test\n",
    }
    assert rows(find_all(tmp_path, tables)) == [
        ("train", "one/1.jpg", "x"),
        ("train", "two/2.jpg", "y"),
        ("test", "two/3.jpg", "y"),
    ]


TOGETHER = {
    "no words": (
        {"a.csv": PLAIN, "b.csv": PLAIN},
        "a.csv: expected one word for train, val or test in the name",
    ),
    "two words": ({"train.csv": PLAIN, "test_val.csv": PLAIN}, "got test and val; rename it, or join"),
    "one split": ({"train1.csv": PLAIN, "train2.csv": PLAIN}, "train2.csv are both of train; join them to one table"),
    "train twice": ({"train.csv": PLAIN, "trainval.csv": PLAIN}, "trainval.csv are both of train; join them"),
    "no train": ({"val.csv": PLAIN, "test.csv": PLAIN.replace("a/1", "c/3").replace("b/2", "c/4")}, "no rows of train"),
    "other labels": (
        {"train.csv": PLAIN, "val.csv": PLAIN.replace("label", "class")},
        "the tables differ in their column of labels: 'label' in ",
    ),
    "an image in both": ({"train.csv": PLAIN, "val.csv": PLAIN}, "a/1.jpg in lines train.csv:2, val.csv:2"),
    "a missing file": (
        {"train.csv": PLAIN, "val.csv": "path,label\nc/3.jpg,cat\nc/5.jpg,cat\n"},
        "line val.csv:3: c/5.jpg",
    ),
    "no label": ({"train.csv": PLAIN, "val.csv": "path,label\nc/3.jpg,cat\nc/4.jpg,\n"}, "no label in line val.csv:3"),
    "a new class": ({"train.csv": PLAIN, "val.csv": "path,label\nc/3.jpg,cow\n"}, "train lacks, which no network"),
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_several_tables_that_do_not_fit_are_refused(tmp_path, kind):
    tables, told = TOGETHER[kind]
    files(tmp_path, [*TWO, "c/3.jpg", "c/4.jpg"])
    with pytest.raises(DatasetError) as caught:
        find_all(tmp_path, tables)
    assert told in str(caught.value)


def test_the_command_takes_a_table_for_each_split(tmp_path):
    home = tmp_path / "set"
    for folder, name in (("train", "a"), ("valid", "b")):
        (home / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(home / folder / f"{name}.png")
        (home / folder / "_classes.csv").write_text(f"filename,class\n{name}.png,x\n")
    tables = [each for folder in ("valid", "train") for each in ("--table", home / folder / "_classes.csv")]
    options = ("--size", "32", "--segments", "4", "--algorithm", "grid", "--jobs", "1")
    done = here("build", "table", *tables, "--out", tmp_path / "x.h5", *options)
    assert done.exit_code == 0, done.stderr
    store = Store(tmp_path / "x.h5")
    assert {split: list(store.keys(split)) for split in store.splits} == {
        "train": ["train/a.png"],
        "val": ["valid/b.png"],
    }
    inside = here("build", "table", *tables, "--out", home / "train" / "_classes.csv", *options)
    assert inside.exit_code == 2


def test_names_that_two_tables_share_are_refused_without_a_root(tmp_path):
    files(tmp_path, ["train/0.png", "val/0.png"])
    with pytest.raises(DatasetError, match=r"(?s)line train.txt:1: train/0.png, val/0.png.*write the whole paths"):
        find_all(tmp_path, {"meta/train.txt": "0.png a\n", "meta/val.txt": "0.png a\n"})


def test_a_list_of_one_column_has_its_labels_in_the_folders_of_its_paths(tmp_path):
    files(tmp_path, ["images/pie/1.jpg", "images/cake/2.jpg", "images/pie/3.jpg", "images/cake/4.jpg"])
    tables = {"meta/train.txt": "pie/1\ncake/2\n", "meta/test.txt": "pie/3\ncake/4\n"}
    listing = find_all(tmp_path, tables)
    assert rows(listing) == [
        ("train", "images/pie/1.jpg", "pie"),
        ("train", "images/cake/2.jpg", "cake"),
        ("test", "images/pie/3.jpg", "pie"),
        ("test", "images/cake/4.jpg", "cake"),
    ]
    assert (
        "train.txt: one column, no header line; images from column 1, labels from the folders of the paths, no split"
        in (listing.notes)
    )


def test_a_list_of_one_column_may_have_a_header_line(tmp_path):
    listing = find(
        files(tmp_path, ["cat/1.jpg", "test/cat/2.jpg", "dog/1.jpg"]), "path\ncat/1.jpg\ntest/cat/2.jpg\ndog/1.jpg\n"
    )
    assert [name for _, _, name in rows(listing)] == ["cat", "cat", "dog"]
    warning = (
        "warning: all images are of one class; if folders are no labels, write the label into each line: 'path label'"
    )
    assert find(tmp_path, "path\ncat/1.jpg\ntest/cat/2.jpg\n").notes[-1] == warning


ONE_COLUMN = {
    "no folders": ("1.jpg\n2.jpg\n", "has only one column, it begins '1.jpg'"),
    "splits": ("train/1.jpg\ntest/2.jpg\n", "each line needs a label: 'path label'"),
    "a path without its folder": ("a/1.jpg\n" * 60 + "2.jpg\n", "no label in line 61, of train"),
    "folders of one name": (
        "c/church/out/1.jpg\ns/shop/out/1.jpg\n",
        "'out' may be two classes: 'c/church/out' and 's/shop/out' in line 2; write the label into each line",
    ),
}


@pytest.mark.parametrize("kind", ONE_COLUMN)
def test_lists_of_one_column_whose_folders_are_no_labels_are_refused(tmp_path, kind):
    table, told = ONE_COLUMN[kind]
    assert told in refused(files(tmp_path, [*TWO, "1.jpg", "2.jpg"]), table, "list.txt")


# ------------------------------------------------------------------------------------------------------------ files


def test_the_order_of_the_table_is_kept(tmp_path):
    listing = find(files(tmp_path), "path,label\nb/2.jpg,dog\na/1.jpg,cat\n")
    assert [key for _, key, _ in rows(listing)] == ["b/2.jpg", "a/1.jpg"]


def test_a_table_beside_the_root_is_no_table_under_it(tmp_path):
    files(tmp_path / "images")
    assert find(tmp_path, PLAIN, home=tmp_path / "images").tables == ()
    assert find(tmp_path / "images", PLAIN).tables == (tmp_path / "images" / "list.csv",)


def test_absolute_paths_under_the_root_are_relative_keys(tmp_path):
    text = PLAIN.replace("a/1", f"{tmp_path}/a/1").replace("b/2", f"{tmp_path}/b/2")
    assert rows(find(files(tmp_path), text)) == CAT_AND_DOG


@pytest.mark.parametrize("start", ["/home/bob/pets/", "C:\\Users\\bob\\pets\\", "pets/", "../"])
def test_what_the_paths_of_another_machine_begin_with_is_left_off_and_said(tmp_path, start):
    text = PLAIN.replace("a/1", f"{start}a/1").replace("b/2", f"{start}b/2")
    listing = find(files(tmp_path), text)
    assert rows(listing) == CAT_AND_DOG
    assert f"images from column 'path' (without {start.replace(chr(92), '/')!r})" in listing.notes[0]


def test_paths_may_be_relative_to_the_table(tmp_path):
    listing = find(files(tmp_path), PLAIN.replace("a/", "../a/").replace("b/", "../b/"), "lists/x.csv", tmp_path)
    assert rows(listing) == CAT_AND_DOG
    assert "(as lists/<cell>)" in listing.notes[0]
    assert listing.tables == (tmp_path / "lists" / "x.csv",)


def test_ids_name_files_without_their_suffix(tmp_path):
    listing = find(files(tmp_path, ["train/x1.JPG", "train/x2.JPG"]), "id,breed\nx1,cat\nx2,dog\n", "labels.csv")
    assert rows(listing) == [("train", "train/x1.JPG", "cat"), ("train", "train/x2.JPG", "dog")]
    assert "labels.csv: images are looked up by name, in train (2)" in listing.notes


def test_missing_files_are_listed_by_line(tmp_path):
    table = PLAIN + "".join(f"c/{number}.jpg,cat\n" for number in range(7))
    assert refused(files(tmp_path), table).split("\n")[1:] == [
        *(f"  line {number + 4}: c/{number}.jpg" for number in range(5)),
        "  and 2 more",
        "add these files, or delete their rows",
    ]


ELSEWHERE = {
    "below": (["a/1.jpg", "deep/in/a/1.jpg", "deep/in/b/2.jpg"], PLAIN, "list.csv", "", "deep/in"),
    "beside": (["images/a/1.jpg", "images/b/2.jpg"], PLAIN, "meta/list.csv", "meta", "images"),
    "ids beside": (["q/x1.jpg", "q/x2.jpg"], "id,label\nx1,cat\nx2,dog\n", "lists/list.csv", "lists", "q"),
    "above": (TWO, PLAIN, "data/list.csv", "data", ""),
    "outside": (
        ["q/a/1.jpg", "q/b/2.jpg"],
        PLAIN.replace("a/", "../q/a/").replace("b/", "../q/b/"),
        "x/l.csv",
        "x",
        "q",
    ),
    "a slash at the start beside": (
        ["q/a/1.jpg", "q/b/2.jpg"],
        "/a/1.jpg cat\n/b/2.jpg dog\n",
        "meta/l.txt",
        "meta",
        "q",
    ),
    "absolute": (
        ["q/a/1.jpg", "q/b/2.jpg"],
        "path,label\nHOME/q/a/1.jpg,cat\nHOME/q/b/2.jpg,dog\n",
        "x/l.csv",
        "x",
        "q",
    ),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_the_root_that_an_error_names_works(tmp_path, kind):
    names, table, name, root, right = ELSEWHERE[kind]
    files(tmp_path, names)
    table = table.replace("HOME", str(tmp_path))
    told = refused(tmp_path, table, name, tmp_path / root)
    assert " of 2 images are " in told
    better = Path(re.search(r"all of them are found with --root (.*)$", told)[1])
    assert better == tmp_path / right
    assert [label for _, _, label in rows(find(tmp_path, table, name, better))] == ["cat", "dog"]


# Files, a table, and the roots under which each row has one image.
SEVERAL = {
    "ids": (["train/1.png", "train/2.png", "test/1.png", "test/2.png", "test/3.png"], "id", ("test", "train")),
    "names": (["rgb/1.png", "rgb/2.png", "depth/1.png", "depth/2.png"], "filename", ("depth", "rgb")),
    "other suffixes": (["in/1.jpg", "in/2.jpg", "out/1.png", "out/2.png"], "id", ("in", "out")),
    "folders inside": (["x/p/1.png", "x/q/2.png", "y/p/1.png", "y/p/2.png"], "id", ("x", "y/p")),
    "one inside of the other": (["i/1.png", "i/2.png", "i/m/1.png", "i/m/2.png"], "id", ("i", "i/m")),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_images_that_several_folders_have_are_not_guessed_and_each_root_named_works(tmp_path, kind):
    names, column, right = SEVERAL[kind]
    table = f"{column},label\n" + "".join(f"{n}{'.png' if column == 'filename' else ''},{n}\n" for n in (1, 2))
    home = files(tmp_path / "set", names)
    told = refused(home, table)
    assert "list.csv: 2 of 2 images may be one of several files under" in told
    assert re.findall(r"--root (.*?)(?:, |$)", told) == [str(home / folder) for folder in right]
    for folder in right:
        found = find(home, table, home=home / folder).splits["train"]
        assert [each.path.parent.is_relative_to(home / folder) for each in found] == [True, True]
        assert [each.path.stem for each in found] == ["1", "2"]


def test_images_that_no_one_folder_has_once_are_refused_without_a_root(tmp_path):
    names = ["accordion/1.jpg", "accordion/2.jpg", "brain/1.jpg", "more/2.jpg", "more/3.jpg"]
    told = refused(files(tmp_path / "set", names), "filename,class\n1.jpg,a\n2.jpg,a\n3.jpg,b\n")
    assert told.split("\n")[1:] == [
        "  line 2: accordion/1.jpg, brain/1.jpg",
        "  line 3: accordion/2.jpg, more/2.jpg",
        "write the whole paths into the table, or move all but one of them out of the root",
    ]


def test_masks_in_the_folder_of_the_table_are_not_taken_for_the_images_beside_it(tmp_path):
    names = [f"{folder}/{cell}" for folder in ("annotations/trimaps", "images") for cell in ("A_1.png", "A_2.png")]
    table = "# Image ID\nA_1 1 1 1\nA_2 2 1 1\n"
    told = refused(files(tmp_path, names), table, "annotations/list.txt", tmp_path / "annotations", label="2")
    roots = re.findall(r"--root (.*?)(?:, |$)", told)
    assert roots == [str(tmp_path / "annotations/trimaps"), str(tmp_path / "images")]
    for root in roots:
        listing = find(tmp_path, table, "annotations/list.txt", Path(root), label="2")
        assert [(each.key, each.label) for each in listing.splits["train"]] == [("A_1.png", 0), ("A_2.png", 1)]


def test_a_folder_of_tables_that_is_named_as_the_root_is_not_looked_beside(tmp_path):
    names = [f"{folder}/{cell}" for folder in ("labels/masks", "images") for cell in ("1.png", "2.png")]
    (home := files(tmp_path, names) / "labels").joinpath("list.txt").write_text("1 x\n2 y\n")
    with pytest.raises(DatasetError, match=r"or those in .*images; choose with --root"):
        DATASETS["table"].find(home, Request(table=(home / "list.txt",)))
    listing = DATASETS["table"].find(home, Request(table=(home / "list.txt",), rooted=True))
    assert [key for _, key, _ in rows(listing)] == ["masks/1.png", "masks/2.png"]


@pytest.mark.parametrize(("folder", "rooted"), [("leaves", False), ("labels", True)])
def test_missing_images_are_not_advised_to_be_those_of_another_set(tmp_path, folder, rooted):
    files(tmp_path, ["other/1.jpg", "other/2.jpg"])
    told = refused(tmp_path, "id,species\n1,oak\n2,elm\n", f"{folder}/list.csv", tmp_path / folder, rooted=rooted)
    assert told.endswith("give the folder that the paths start from with --root, or another column with --image")


# Files, and a table whose rows are each one of them, in this order.
SPREAD = {
    "ids in parts": (["part_1/x1.jpg", "part_2/x2.jpg"], "image_id,dx\nx1,cat\nx2,dog\n"),
    "names in parts": (["a/images/1.png", "b/images/2.png"], "Image Index,Label\n1.png,cat\n2.png,dog\n"),
    "ids with folders": (["images/pie/1.jpg", "images/cake/2.jpg"], "image,label\npie/1,cat\ncake/2,dog\n"),
    "ids with folders, no header": (["images/pie/1.jpg", "images/cake/2.jpg"], "pie/1 cat\ncake/2 dog\n"),
    "ids with folders from the root": (["pie/1.jpg", "cake/2.JPG"], "pie/1\tcat\n./cake/2\tdog\n"),
    "paths from a folder below": (["deep/in/a/1.jpg", "deep/in/b/2.jpg"], PLAIN),
    "a suffix in the name": (["p/x.1.jpg", "q/x.2.jpg"], "id,label\nx.1,cat\nx.2,dog\n"),
    "a slash at the start": (["large/a/b/1.jpg", "large/a/c/1.jpg"], "/a/b/1.jpg cat\n/a/c/1.jpg dog\n"),
    "a file named as the header": (["p/image.png", "p/1.png", "p/2.png"], "image,label\n1,cat\n2,dog\n"),
}


@pytest.mark.parametrize("kind", SPREAD)
def test_images_that_are_each_there_once_are_found_in_all_folders(tmp_path, kind):
    names, table = SPREAD[kind]
    names = [name for name in files(tmp_path / "set", names) and names if "image.png" not in name]
    listing = find(tmp_path / "set", table)
    assert rows(listing) == [("train", names[0], "cat"), ("train", names[1], "dog")]
    counts = {str(Path(name).parent): sum(Path(each).parent == Path(name).parent for each in names) for name in names}
    where = ", ".join(f"{folder} ({count})" for folder, count in sorted(counts.items()))
    assert f"list.csv: images are looked up by name, in {where}" in listing.notes


def test_missing_images_that_are_elsewhere_are_not_to_be_deleted_from_the_table(tmp_path):
    told = refused(files(tmp_path, ["1.png", "more/2.png"]), "file,label\n1.png,x\n2.png,x\n")
    assert told.endswith("files of these names are in more: write these paths into the table, or move the files")
    (tmp_path / "1.png").rename(tmp_path / "more" / "1.png")
    assert "1 of 3 images are missing" in refused(tmp_path, "file,label\n1.png,x\n2.png,x\n3.png,x\n")


def test_a_wrong_root_without_a_better_one_is_said(tmp_path):
    told = refused(tmp_path / "x", PLAIN, "list.csv")
    assert told.endswith("give the folder that the paths start from with --root, or another column with --image")


@pytest.mark.parametrize("second", ["cat", "dog"])
def test_an_image_that_is_there_twice_is_refused_with_both_lines(tmp_path, second):
    told = refused(files(tmp_path), PLAIN + f"./a/1.jpg,{second}\n")
    assert "lists images twice: a/1.jpg in lines 2, 4; keep one row for each image" in told


def test_web_addresses_are_refused(tmp_path):
    told = refused(files(tmp_path), "url,path,label\nx,https://x.example/1.jpg,cat\n")
    assert "column 'path' holds addresses, not files, in line 2; download the images" in told


def test_a_row_without_a_path_is_refused(tmp_path):
    assert "no path of an image in line 3; write" in refused(files(tmp_path), "path,label\na/1.jpg,cat\n,dog\n")


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd"])
def test_no_row_leads_out_of_the_root(tmp_path, path):
    told = refused(files(tmp_path / "x"), PLAIN + f"{path},cat\n", home=tmp_path / "x")
    assert "1 of 3 images are not under" in told


# -------------------------------------------------------------------------------------------------- what is no table

BROKEN = {
    "nothing": (b"", "is empty; expected a table as CSV, TSV or Parquet"),
    "blank lines": (b"\n \r\n", "has no lines"),
    "names alone": (b"path,label\n", "has a header line, but no rows below it"),
    "one column": (b"path\n1.jpg\n", "has only one column, it begins 'path'"),
    "Latin-1": (
        "path,label\na/1.jpg,\xfcber\n".encode("latin-1"),
        "line 2: not UTF-8 text (Latin-1?): save it as UTF-8",
    ),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), "line 1: expected text without zero bytes"),
    "half of UTF-16": (PLAIN.encode("utf-16")[:-1], "not UTF-8 text"),
    "a zero byte": (PLAIN.encode() + b"\0", "line 4: expected text without zero bytes"),
    "a short row": (PLAIN.encode() + b"a/1.jpg\n", "line 4: expected 2 cells as in the first row, got 1: 'a/1.jpg'"),
    "a long row": (PLAIN.encode() + b"\na,b,c\n", "line 5: expected 2 cells as in the first row, got 3: 'a | b | c'"),
    "an open quote": (PLAIN.encode() + b'"c/3.jpg,cat\n', "after line 3: unexpected end of data; a quote is missing"),
    "a quote too many": (PLAIN.encode() + b'"c/3.jpg"x,cat\n', "after line 3: ',' expected after '\"'"),
    "a cell without an end": (
        PLAIN.encode() + b"x" * 200_000 + b",cat\n",
        "after line 3: field larger than field limit",
    ),
    "Excel": (b"PK\x03\x04" + bytes(99), "is a ZIP file, maybe an Excel workbook"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "is gzip; expected a table"),
    "a web page": (b"<!DOCTYPE html><html>", "is HTML, XML or SVG; expected a table"),
    "JSON": (json.dumps([{"path": "x"}]).encode(), "is JSON; expected a table"),
    "half of Parquet": (b"PAR1" + bytes(99), "is damaged: "),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_table_is_refused(tmp_path, kind):
    data, told = BROKEN[kind]
    assert f"{tmp_path / 'list.csv'}" in (message := refused(files(tmp_path), data))
    assert told in message
    assert len(message) < 600


def test_what_only_has_the_name_of_parquet_is_refused(tmp_path):
    assert "is no Parquet file" in refused(tmp_path, PLAIN, "x.parquet")


def test_a_table_that_is_none_is_refused(tmp_path):
    find_table = DATASETS["table"].find
    with pytest.raises(MissingDataError, match="say which table lists the images: --table"):
        find_table(tmp_path, Request())
    with pytest.raises(DatasetError, match="expected a regular file, it is a folder"):
        find_table(tmp_path, Request(table=(tmp_path,)))
    with pytest.raises(DatasetError, match="No such file"):
        find_table(tmp_path, Request(table=(tmp_path / "x.csv",)))
    with pytest.raises(MissingDataError, match=r"there is no folder .*; give the folder of the images with --root"):
        find_table(tmp_path / "x", Request(table=(tmp_path,)))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="it is a FIFO"):
        find_table(tmp_path, Request(table=(tmp_path / "pipe",)))


def test_a_table_without_an_end_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(PLAIN.encode())
    os.truncate(path, LARGEST + 1)
    with pytest.raises(DatasetError, match="too large: expected at most 268,435,456 bytes"):
        DATASETS["table"].find(tmp_path, Request(table=(path,)))


@pytest.mark.parametrize("kind", ["text", "Parquet"])
def test_too_many_rows_are_refused(tmp_path, monkeypatch, kind):
    names = [f"{number}.jpg" for number in range(90)]
    text = "path,label\n" + "".join(f"{name},x\n" for name in names)
    data = text.encode() if kind == "text" else parquet(path=names, label=["x"] * 90)
    monkeypatch.setattr("preprocess.datasets.rows._MOST_ROWS", 80)
    assert "expected at most 80" in refused(files(tmp_path, names), data)


# ------------------------------------------------------------------------------------------- id tables, as in cub100


@pytest.fixture
def cub100(tmp_path):
    if not CASES.is_dir():
        pytest.skip("needs the cases")
    for path in (CASES / "layout-cub100").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    paths = [line.split(", ")[1] for line in (tmp_path / "images.txt").read_text().splitlines()]
    return files(tmp_path, [f"images/{path}" for path in paths])


def test_the_two_statements_of_the_readme_make_a_table_of_id_tables(cub100):
    text = (ROOT / "preprocess" / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(paths, labels, .*?)```", text, re.DOTALL)[1]
    assert len(ast.parse(code).body) == 2
    subprocess.run([sys.executable, "-c", code], cwd=cub100, check=True)
    listing = DATASETS["table"].find(cub100, Request(table=(cub100 / "list.csv",)))
    read = {
        name: dict(line.split(", ") for line in (cub100 / f"{name}.txt").read_text().splitlines())
        for name in ("images", "image_class_labels", "train_test_split", "classes")
    }
    assert sorted(rows(listing)) == sorted(
        (
            "train" if read["train_test_split"][image] == "1" else "test",
            f"images/{path}",
            read["classes"][read["image_class_labels"][image]],
        )
        for image, path in read["images"].items()
    )
    assert listing.classes == ("Black_footed_Albatross",)  # the only one of three that has images
