"""Labels, splits, and several tables of one set."""

import os
import shlex
from pathlib import Path

import pytest
from PIL import Image

from preprocess import Store
from preprocess.datasets import DATASETS, Listing, Request
from preprocess.errors import DatasetError
from preprocess.raw.selection import check_names
from tests.preprocess.conftest import here
from tests.preprocess.datasets.tables import CAT_AND_DOG, PLAIN, TWO, files, find, refused, rows

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


@pytest.mark.parametrize(("labels", "warned"), [("-1 0 1", True), ("-1 1 -1", False), ("-2 0 1", False)])
def test_a_label_of_minus_one_beside_numbers_is_warned_of(tmp_path, labels, warned):
    table = "path,label\n" + "".join(f"{place}.jpg,{label}\n" for place, label in enumerate(labels.split()))
    listing = find(files(tmp_path, ["0.jpg", "1.jpg", "2.jpg"]), table)
    assert listing.classes == tuple(sorted(set(labels.split()), key=int))
    told = (
        "warning: the label -1 in column 'label' is taken for a class, with label 0; if it means that there is none, "
        "remove these rows"
    )
    assert (told in listing.notes) == warned


@pytest.mark.parametrize("empty", ["", "NaN", '" "'])
def test_a_row_without_a_label_is_refused_with_its_line(tmp_path, empty):
    told = refused(files(tmp_path), f"path,label\na/1.jpg,cat\nb/2.jpg,{empty}\n")
    assert "no label in line 3, of train; write their labels, or delete these rows" in told


@pytest.mark.parametrize("word", ["NA", "None", "null", "<NA>", "n/a", "?"])
def test_words_for_none_among_numbers_are_no_class(tmp_path, word):
    table = f"path,label\na/1.jpg,2\nb/2.jpg,10\nc/3.jpg,{word}\n"
    told = f"no label in line 4, of train; write their labels, or delete these rows; if {word!r} is a class, give it an"
    assert told in refused(files(tmp_path, [*TWO, "c/3.jpg"]), table)
    table = f"path,label,set\na/1.jpg,2,train\nb/2.jpg,10,train\nc/3.jpg,{word},test\n"
    listing = find(tmp_path, table)
    assert (listing.classes, rows(listing)[1]) == (("2", "10"), ("train", "b/2.jpg", "10"))
    assert "warning: list.csv: the split test has no labels and is left out: line 4" in listing.notes


def test_words_for_none_among_names_are_a_class_with_a_warning(tmp_path):
    names = [*TWO, "c/3.jpg"]
    table = "path,label,split\na/1.jpg,scratch,train\nb/2.jpg,none,train\nc/3.jpg,none,test\n"
    listing = find(files(tmp_path, names), table)
    assert (listing.classes, rows(listing)[2]) == (("none", "scratch"), ("test", "c/3.jpg", "none"))
    told = "warning: the label 'none' is taken for a class; if it means that there is none, remove these rows"
    assert told in listing.notes
    listing = find(tmp_path, table.replace("none,train", "dent,train"))
    assert "warning: list.csv: the split test has no labels and is left out: line 4" in listing.notes


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
    near = "'Cat' (train has 'cat'); if these are one class, give it one name; else add rows of them to train"
    assert near in refused(tmp_path, table.replace("dog", "Cat"))
    assert rows(find(tmp_path, table, splits=("train",))) == [("train", "a/1.jpg", "cat")]
    files(tmp_path, ["c/3.jpg"])
    listing = find(tmp_path, table + "c/3.jpg,dog,train\n")
    assert listing.notes[-1] == (
        "warning: list.csv: the split test lacks 1 of 2 classes: cat; the labels are those of train"
    )


@pytest.mark.parametrize(("mark", "warned"), [("|", True), (", ", True), (" ", True), (" or ", False)])
def test_cells_of_several_labels_are_warned_of(tmp_path, mark, warned):
    labels = ["cat", "dog", f"cat{mark}dog", f"cat{mark}cow"]
    table = "path;label\n" + "".join(f"{place}.jpg;{label}\n" for place, label in enumerate([*labels, labels[2]]))
    notes = find(files(tmp_path, [f"{place}.jpg" for place in range(5)]), table).notes
    told = (
        f"warning: list.csv: 2 of 5 rows have several labels in one cell, such as 'cat{mark}dog'; one label per image"
    )
    assert any(note.startswith(told) for note in notes) == warned


@pytest.mark.parametrize(
    ("labels", "odd"),
    [
        (["scab rust", "rust scab", "healthy leaf"], 2),
        (["['cat', 'dog']", "['cat']", "['golden retriever']"], 1),
        (["['cat' 'dog']", "[cat, cow]", "cat"], 2),
        (["polar bear", "bear", "golden retriever"], 0),
    ],
)
def test_cells_of_several_labels_are_known_by_brackets_and_by_two_orders(tmp_path, labels, odd):
    table = "path;label\n" + "".join(f"{place}.jpg;{label}\n" for place, label in enumerate(labels))
    notes = find(files(tmp_path, [f"{place}.jpg" for place in range(3)]), table).notes
    told = [note for note in notes if "rows have several labels in one cell" in note]
    assert len(told) == bool(odd)
    assert all(f"{odd} of 3 rows have several labels in one cell, such as {labels[0]!r}" in note for note in told)


# Tables with a column of 0 and 1 for each class; a/1.jpg is of the first class, b/2.jpg of the last.
ONE_HOT = {
    "Roboflow": ("filename, zebra, cow, ape\na/1.jpg, 1, 0, 0\nb/2.jpg, 0, 0, 1\n", "'zebra', 'cow', 'ape'"),
    "ISIC": ("image,MEL,NV\na/1,1.0,0.0\nb/2,0.0,1.0\n", "'MEL', 'NV'"),
    "pandas": (",path,cat,dog\n0,a/1.jpg,True,False\n1,b/2.jpg,False,True\n", "'cat', 'dog'"),
    "a class called train": ("path,bus,train\na/1.jpg,1,0\nb/2.jpg,0,1\n", "'bus', 'train'"),
    "a class called test": ("path,ad,test\na/1.jpg,1,0\nb/2.jpg,0,1\n", "'ad', 'test'"),
    "flags beside": ("path,x,w,train,val\na/1.jpg,1,0,1,0\nb/2.jpg,0,1,1,0\n", "'x', 'w'"),
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


def test_a_class_of_which_the_first_rows_have_none_makes_no_classes_of_flags(tmp_path):
    names = [f"{number}.jpg" for number in range(61)]
    cells = [*(f"0,{number % 2},{1 - number % 2}" for number in range(60)), "1,1,0"]
    table = "path,ill,train,val\n" + "".join(f"{name},{cell}\n" for name, cell in zip(names, cells, strict=True))
    listing = find(files(tmp_path, names), table)
    assert (listing.classes, {split: len(each) for split, each in listing.splits.items()}) == (
        ("0", "1"),
        {"train": 31, "val": 30},
    )


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
        ("test", "0", "1", "test"),
        ("Validation", "0", "1", "val"),
        ("training", "1", "0", "test"),
    ],
)
def test_flags_divide(tmp_path, name, first, second, split):
    listing = find(files(tmp_path), f"path,label,{name}\na/1.jpg,x,{first}\nb/2.jpg,x,{second}\n")
    assert rows(listing) == [("train", "a/1.jpg", "x"), (split, "b/2.jpg", "x")]
    assert f"labels from 'label', split from '{name}'" in listing.notes[0]


# Columns, their cells for three rows, and the splits of these.
FLAGGED = {
    "three": ("train,val,test", ["1,0,0", "0,1,0", "0,0,1"], ["train", "val", "test"]),
    "three in words": ("is_train,is_val,is_test", ["yes,no,no", "no,yes,no", "no,no,yes"], ["train", "val", "test"]),
    "train and val": ("train,valid", ["True,False", "False,True", "True,False"], ["train", "val", "train"]),
    "no flag of train": ("is_val,is_test", ["0,0", "1,0", "0,1"], ["train", "val", "test"]),
    "one split twice": ("train,is_train,test", ["1,1,0", "0,0,1", "1,1,0"], ["train", "test", "train"]),
}


@pytest.mark.parametrize("kind", FLAGGED)
@pytest.mark.parametrize("is_asked", [False, True])
def test_flags_of_several_splits_are_read_together(tmp_path, kind, is_asked):
    columns, cells, splits = FLAGGED[kind]
    names = ["1.jpg", "2.jpg", "3.jpg"]
    table = f"path,label,{columns}\n" + "".join(f"{name},x,{cell}\n" for name, cell in zip(names, cells, strict=True))
    listing = find(files(tmp_path, names), table, split=columns.split(",")[0] if is_asked else None)
    assert sorted(rows(listing)) == sorted((split, name, "x") for name, split in zip(names, splits, strict=True))
    assert f"split from {', '.join(map(repr, columns.split(',')))}" in listing.notes[0]


@pytest.mark.parametrize("cells", ["0,0", "1,1", ",0", "1,?"])
def test_rows_without_one_flag_of_several_are_refused_with_their_lines(tmp_path, cells):
    table = f"path,label,train,val\na/1.jpg,x,1,0\na/3.jpg,x,0,1\nb/2.jpg,x,{cells}\n"
    told = "none or several splits in columns 'train', 'val' in line 4; write 1 or 0, and 1 for one split of each row"
    assert told in refused(files(tmp_path, [*TWO, "a/3.jpg"]), table)


def test_a_column_of_words_beside_flags_needs_a_choice(tmp_path):
    table = "path,label,set,train,test\na/1.jpg,x,train,0,1\nb/2.jpg,x,val,1,0\n"
    told = "splits may be in column 'set' or 'train' or 'test'; choose with --split NAME"
    assert told in refused(files(tmp_path), table)
    assert [split for split, *_ in rows(find(tmp_path, table, split="set"))] == ["train", "val"]
    assert [key for _, key, _ in rows(find(tmp_path, table, split="test"))] == ["b/2.jpg", "a/1.jpg"]


@pytest.mark.parametrize(
    ("columns", "cells", "wanted"),
    [("label,val", ["x,1", "y,0.5", "y,17"], {}), ("test,note", ["0,p", "1,q", "1,q"], {"label": "test"})],
)
def test_numbers_and_labels_with_names_of_splits_do_not_divide(tmp_path, columns, cells, wanted):
    table = f"path,{columns}\n" + "".join(f"{place}.jpg,{cell}\n" for place, cell in enumerate(cells))
    assert find(files(tmp_path, ["0.jpg", "1.jpg", "2.jpg"]), table, **wanted).undivided


@pytest.mark.parametrize(
    ("table", "option"),
    [("a/1.jpg train\nb/2.jpg Testing\n", "2"), ("path,my part\na/1.jpg,train\nb/2.jpg,Testing\n", "my part")],
)
def test_words_for_splits_are_taken_for_classes_on_demand_only(tmp_path, table, option):
    root = files(tmp_path)
    message = f"{option!r}, has only words for splits: Testing, train; if they are splits, add a column of labels; "
    told = refused(root, table)
    assert f"{message}if they are classes, say --label {shlex.quote(option)}" in told
    assert find(root, table, label=option).classes == ("Testing", "train")
    assert find(root, table.replace("Testing", "bus")).classes == ("bus", "train")


def test_a_table_that_is_sorted_by_its_split_is_divided_as_in_any_order(tmp_path):
    """The first 60 rows are of a split that nobody asks for; columns are guessed from fewer."""
    words = ["extra"] * 60 + ["test", "train", "train"]
    lines = [f"{place}.jpg,{'ab'[place % 2]},{word}\n" for place, word in enumerate(words)]
    root = files(tmp_path, [f"{place}.jpg" for place in range(63)])
    for ordered in (lines, lines[::-1]):
        table = "path,label,split\n" + "".join(ordered)
        assert "values that are no words for train, val or test: 'extra'; write these words, or leave" in refused(
            root, table
        )
        listing = find(root, table, splits=("train", "test"))
        assert {split: len(mine) for split, mine in listing.splits.items()} == {"train": 2, "test": 1}


def test_a_column_of_folds_is_not_taken_for_the_split(tmp_path):
    listing = find(files(tmp_path), "path,label,fold\na/1.jpg,cat,0\nb/2.jpg,dog,1\n")
    assert listing.undivided
    assert listing.notes[1] == (
        "list.csv: column 'fold' is not taken for the split, its values are no words for train, val or test: '0', '1'"
    )


@pytest.mark.parametrize("start", ["", "d/", "/home/eva/test_set/"])
@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("train2017", "val2017"), ("Training", "dev")])
def test_folders_of_all_paths_that_are_words_for_splits_divide(tmp_path, start, train, val):
    files(tmp_path, names := [f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{val}/train/3.jpg", f"{train}/train/4.jpg"])
    listing = find(tmp_path, "path,label\n" + "".join(f"{start}{name},{name.split('/')[1]}\n" for name in names))
    assert rows(listing) == [
        ("train", names[0], "cat"),
        ("train", names[1], "dog"),
        ("train", names[3], "train"),
        ("val", names[2], "train"),
    ]
    assert not listing.undivided
    said = sorted([f"{train} is train", f"{val} is val"])
    assert f"list.csv: splits from folders of the paths: {', '.join(said)}" in listing.notes


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/1.jpg", "test/2.jpg", "extra/3.jpg"], "test, train"),
        (["1.jpg", "test/2.jpg", "3.jpg"], "test"),
        (["train/test/1.jpg", "test/train/2.jpg", "train/train/3.jpg"], "test and train, train"),
        (["val/1.jpg", "test/2.jpg", "test/3.jpg"], "test, val"),
        (["train/1.jpg", "train/2.jpg", "car/3.jpg"], ""),
        (["d/test/1.jpg", "d/test/2.jpg", "d/test/3.jpg"], ""),
    ],
)
def test_folders_of_some_paths_that_are_words_for_splits_are_warned_of(tmp_path, names, said):
    listing = find(files(tmp_path, names), "".join(f"{name},{number % 2}\n" for number, name in enumerate(names)))
    assert listing.undivided
    told = [note for note in listing.notes if note.startswith("warning: list.csv: folders of some paths are called as")]
    assert [note.split("(")[1].split(")")[0] for note in told] == ([said] if said else [])


def test_folders_of_classes_called_train_and_test_are_no_splits(tmp_path):
    listing = find(files(tmp_path, ["train/1.jpg", "test/2.jpg"]), "train/1.jpg,train\ntest/2.jpg,test\n", label="2")
    assert listing.undivided
    assert not any("splits" in note for note in listing.notes)


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
    "no labels": ({"train.csv": PLAIN, "test.csv": "path\nc/3.jpg\nc/4.jpg\n"}, "test.csv has no column 'label' of"),
    "no labels, but sizes": (
        {"train.csv": "path,w,label\na/1.jpg,4,cat\nb/2.jpg,5,dog\n", "test.csv": "path,w\nc/3.jpg,6\n"},
        "test.csv has no column 'label' of labels, as ",
    ),
    "names alone": (
        {"train.csv": PLAIN, "test.csv": "path\n3.jpg\n4.jpg\n"},
        "leave out a table of images without labels",
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


def test_a_table_without_labels_is_told_to_be_left_out(tmp_path):
    tables = {"train.csv": PLAIN, "test.csv": "path\nc/3.jpg\nc/4.jpg\n"}
    files(tmp_path, [*TWO, "c/3.jpg", "c/4.jpg"])
    for wanted in ({}, {"label": "label"}, {"splits": ("train",)}):
        with pytest.raises(DatasetError, match=rf"leave out --table {tmp_path}/test\.csv"):
            find_all(tmp_path, tables, **wanted)
    assert rows(find_all(tmp_path, {"train.csv": PLAIN})) == CAT_AND_DOG


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
