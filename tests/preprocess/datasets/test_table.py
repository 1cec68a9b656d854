"""Images that a table lists: forms of a table, its columns, and what is no table."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from preprocess.datasets import DATASETS, Request
from preprocess.datasets.rows import LARGEST
from preprocess.errors import DatasetError, MissingDataError
from preprocess.extras import PackageError
from tests.conftest import ROOT
from tests.preprocess.datasets.tables import CASES, CAT_AND_DOG, PLAIN, TWO, files, find, parquet, refused, rows

# ------------------------------------------------------------------------------------------------- forms of a table

FORMS = {
    "commas": PLAIN,
    "no header line": "a/1.jpg,cat\nb/2.jpg,dog\n",
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", " | "),
    "bars, no header line": "a/1.jpg|cat\nb/2.jpg|dog\n",
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
    "sep= and bars": "sep=|\n" + PLAIN.replace(",", "|"),
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
    with pytest.raises(PackageError, match=r"x\.parquet needs pyarrow, which the extra \[hf\] brings"):
        find(tmp_path, b"PAR1", "x.parquet")


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
    "only classes with blanks": (["1.jpg", "2.jpg"], "1.jpg golden retriever\n2.jpg golden eagle\n"),
    "one class with blanks, late": (
        [f"{number}.jpg" for number in range(12)],
        "".join(f"{number}.jpg {'cat' if number < 11 else 'polar bear'}\n" for number in range(12)),
    ),
    "ImageNet": (["n01440764/x.JPEG", "n01443537/y.JPEG"], "n01440764/x.JPEG 0\nn01443537/y.JPEG 1\n"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_blanks_in_lines_are_told_by_the_files_that_exist(tmp_path, kind):
    names, text = LISTS[kind]
    listing = find(files(tmp_path, names), text, "train.txt")
    assert [f"{key} {name}" for _, key, name in rows(listing)] == text.splitlines()


def test_words_that_may_be_several_columns_are_said_and_chosen(tmp_path):
    text = "golden retriever 1.jpg\ngolden eagle 2.jpg\n"
    listing = find(files(tmp_path, ["1.jpg", "2.jpg"]), text, "list.txt")
    assert listing.classes == ("golden eagle", "golden retriever")
    assert listing.notes[1] == (
        "list.txt: all words beside the path are the label, such as 'golden retriever'; if they are several columns, "
        "choose one with --label 1, 2"
    )
    assert find(tmp_path, text, "list.txt", label="2").classes == ("eagle", "retriever")


@pytest.mark.parametrize("rest", ["0 7", "7 red", "a.png cat", "big cat train"])
def test_words_that_hold_more_than_names_are_not_joined_to_a_label(tmp_path, rest):
    told = refused(files(tmp_path, ["1.jpg", "2.jpg"]), f"1.jpg {rest}\n2.jpg {rest}\n", "list.txt")
    assert "labels may be in column 2 or 3; choose with --label NAME" in told
    assert told.endswith("; separate all cells by tabs if some hold blanks")


def test_quotes_are_advised_only_where_they_are_read(tmp_path):
    names = [f"{number}.jpg" for number in range(51)]
    lines = [f"{name} {'big cat' if name == '50.jpg' else 7} 3\n" for name in names]
    told = refused(files(tmp_path, names), "".join(lines), "list.txt", label="2")
    assert "line 51: expected 3 cells as in the first row, got 4" in told
    assert told.endswith("; complete the line, or separate all cells by tabs if some hold blanks")
    tabs = [line.replace(" 3", "\t3").replace(" ", "\t", 1) for line in lines]
    assert find(tmp_path, "".join(tabs), "list.txt", label="2").classes == ("7", "big cat")
    told = refused(tmp_path, "1.jpg,cat\n2.jpg,dog,big\n")
    assert told.endswith("; complete the line, or put quotes around cells that hold a separator")


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
        ({"label": "LABEL"}, "no column 'LABEL' for --label; did you mean 'label'?; its columns are 'path', 'label'"),
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
