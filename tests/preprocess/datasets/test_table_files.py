"""The files that a table of images names."""

import re
from pathlib import Path
from unicodedata import normalize

import pytest

from preprocess.datasets import DATASETS, Request
from preprocess.errors import DatasetError
from tests.preprocess.datasets.tables import CAT_AND_DOG, PLAIN, TWO, files, find, refused, rows

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


IDS = "id,label\n0,cat\n1,dog\n"


@pytest.mark.parametrize("there", [["test/0.png", "test/1.png"], ["x/train/0.png", "x/test1/1.png"]])
def test_ids_of_train_are_no_images_of_test_unless_it_is_said(tmp_path, there):
    home = files(tmp_path / "set", there)
    told = refused(home, IDS, "trainLabels.csv")
    lines = [f"  line {number}: {name}" for number, name in enumerate(there, start=2) if "test" in name]
    assert told.split("\n")[1:-1] == lines
    assert f"the name says train, but {len(lines)} of 2 images are only in folders of other splits" in told
    assert told.endswith("with --root, or write their whole paths into the table, and a column of splits")
    whole = f"path,label,split\n{there[0]},cat,train\n{there[1]},dog,train\n"
    assert rows(find(home, whole, "trainLabels.csv")) == [("train", there[0], "cat"), ("train", there[1], "dog")]
    assert [key for _, key, _ in rows(find(home, IDS, "labels.csv"))] == there
    if len(lines) == 2:
        assert [key for _, key, _ in rows(find(home, IDS, "train.csv", home / "test"))] == ["0.png", "1.png"]


@pytest.mark.parametrize("others", [["test/0.png", "test/1.png"], ["test/1.png", "more/0.png"]])
def test_of_several_files_of_an_id_those_of_the_split_of_the_table_are_taken(tmp_path, others):
    files(tmp_path, ["train/0.png", "train/1.png", *others])
    listing = find(tmp_path, IDS, "train.csv")
    assert rows(listing) == [("train", "train/0.png", "cat"), ("train", "train/1.png", "dog")]
    assert listing.notes[1] == (
        "train.csv: images are looked up by name, in train (2); other files of these names, outside of folders of "
        "their split, are not taken"
    )
    assert "may be one of several files" in refused(tmp_path, IDS, "trainval.csv")


def test_lists_of_train_and_val_may_name_images_of_one_folder(tmp_path):
    home = files(tmp_path / "set", ["train/0.png", "train/1.png"])
    tables = tmp_path / "train.csv", tmp_path / "val.csv"
    for number, path in enumerate(tables):
        path.write_text(f"id,label\n{number},cat\n")
    listing = DATASETS["table"].find(home, Request(table=tables))
    assert rows(listing) == [("train", "train/0.png", "cat"), ("val", "train/1.png", "cat")]


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


@pytest.mark.parametrize("there", ["a/1.jpg", "A/1.JPG", "a/1.png"])
@pytest.mark.parametrize("others", [[], ["b/2.JPG"]])
def test_a_file_that_differs_by_case_or_suffix_only_is_named(tmp_path, there, others):
    told = refused(files(tmp_path, [there, *others]), "path,label\na/1.JPG,cat\nb/2.JPG,dog\n")
    assert f"{there} is there, which differs from a/1.JPG by case or suffix only: correct the table" in told
    assert told.endswith("table" if others else "(for 1 of them), and add the other files, or delete their rows")


@pytest.mark.parametrize(("table", "disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_with_accents_are_found_in_both_unicode_forms(tmp_path, table, disk):
    there = normalize(disk, "caf\u00e9/\u00e9.jpg")
    files(tmp_path, [there, "b/2.jpg"])
    cells = normalize(table, "path,label\ncaf\u00e9/\u00e9.jpg,cat\nb/2.jpg,dog\n")
    listing = find(tmp_path, cells)
    assert rows(listing) == [("train", there, "cat"), ("train", "b/2.jpg", "dog")]
    assert f"list.csv: 1 images are found by names in another Unicode form, such as {there}" in listing.notes
    twice = cells + f"{there},cat\n"
    assert f"lists images twice: {there} in lines 2, 4" in refused(tmp_path, twice)
    by_id = find(tmp_path, normalize(table, "id,label\n\u00e9,cat\n2,dog\n"))
    assert rows(by_id) == [("train", there, "cat"), ("train", "b/2.jpg", "dog")]


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


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("test/1x.jpg", "test/2x.jpg"), "test"),
        (("train/1x.jpg", "test/2x.jpg"), "test and train"),
        (("train/1x.jpg", "train/2x.jpg"), ""),
        (("images/1x.jpg", "2x.jpg"), ""),
    ],
)
def test_images_of_a_table_without_splits_in_folders_of_val_or_test_are_told(tmp_path, names, said):
    """Train may not be unpacked, and test have the same ids."""
    listing = find(files(tmp_path, names), "id,label\n1x,a\n2x,b\n", "labels.csv")
    warning = f"warning: labels.csv says no splits, but its images are in folders of {said}: if names start anew"
    assert any(note.startswith(warning) for note in listing.notes) == bool(said)
    whole = f"path,label\n{names[0]},a\n{names[1]},a\n"
    assert not any("start anew" in note for note in find(tmp_path, whole, "labels.csv").notes)
