"""Nothing vanishes: what people have below a root is taken, or counted, or refused by name."""

import os
from pathlib import Path

import pytest
from PIL import Image

from preprocess.datasets import DATASETS, Request
from preprocess.datasets.census import count_left_out, count_unlisted, describe
from preprocess.errors import DatasetError, MissingDataError, SettingError
from preprocess.extras import install
from preprocess.formats import is_readable
from preprocess.store import Store
from tests.conftest import paint
from tests.preprocess.conftest import QUICK, here
from tests.preprocess.datasets.test_folder import tree

CASES = Path(__file__).parents[4] / "shared" / "cases"


def find(root: Path, *splits: str):
    return DATASETS["folder"].find(root, Request(splits or None))


def counts(root: Path) -> dict[str, int]:
    listing = find(root)
    taken = {str(sample.path) for samples in listing.splits.values() for sample in samples}
    found = count_left_out(root, taken)
    assert all(os.path.lexists(root / example) for _, example in found.values())
    return {reason: count for reason, (count, _) in found.items()}


def test_a_root_counts_the_same_however_it_is_spelled(tmp_path, monkeypatch):
    root = tree(tmp_path / "raw", "train/a/0.png", "train/b/0.png", "train/lost.png")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(root)
    for spelling in (root, Path(), Path("../raw"), tmp_path / "link"):
        assert counts(spelling) == {".png that are not listed": 1}
    taken = [str(sample.path.resolve()) for sample in find(tmp_path / "link").splits["train"]]
    assert count_left_out(Path(), taken) == {".png that are not listed": (1, "train/lost.png")}


@pytest.mark.parametrize(
    ("folder", "split"),
    [("validation", "val"), ("valid", "val"), ("VAL", "val"), ("dev", "val"), ("Test", "test"), ("testing", "test"),
     ("eval", "test"), ("Evaluation", "test")],
)  # fmt: skip
@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
def test_splits_are_known_by_the_words_that_people_use(tmp_path, folder, split, train):
    listing = find(tree(tmp_path, f"{train}/a/0.png", f"{folder}/a/1.png"))
    assert list(listing.splits) == ["train", split]
    assert [sample.key for sample in listing.splits[split]] == [f"{folder}/a/1.png"]


def test_two_folders_of_one_split_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="val/ and validation/ are both the split val"):
        find(tree(tmp_path, "train/a/0.png", "val/a/1.png", "validation/a/2.png"))


@pytest.mark.parametrize("folder", ["extra", "train_unlabeled", "test2", "holdout/deep"])
def test_a_folder_of_images_that_is_no_split_is_an_error_and_its_advice_works(tmp_path, folder):
    root = tree(tmp_path, "train/a/0.png", "test/a/1.png", f"{folder}/a/2.png")
    name = folder.split("/")[0]
    with pytest.raises(
        DatasetError, match=f"{name}/ holds images.*--splits train,test, or .* --splits train,test,{name}"
    ):
        find(root)
    assert list(find(root, "train", "test").splits) == ["train", "test"]
    if name == folder:
        assert [sample.key for sample in find(root, "train", "test", name).splits[name]] == [f"{name}/a/2.png"]


def test_a_folder_without_images_beside_train_is_counted(tmp_path):
    root = tree(tmp_path, "train/a/0.png")
    for name in ("annotations/a.xml", "annotations/b.xml", "README", "LICENSE"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("words")
    (root / "logs").mkdir()
    assert counts(root) == {".xml": 2, "without a suffix": 2, "empty folders": 1}


@pytest.mark.parametrize("lacking", ["empty", "absent"])
def test_a_split_may_lack_classes_of_train(tmp_path, lacking):
    root = tree(tmp_path, "train/a/0.png", "train/b/0.png", "train/c/0.png", "val/a/1.png", "val/c/1.png")
    if lacking == "empty":
        (root / "val" / "b").mkdir()
    listing = find(root)
    assert listing.classes == ("a", "b", "c")
    assert [(sample.key, sample.label) for sample in listing.splits["val"]] == [("val/a/1.png", 0), ("val/c/1.png", 2)]
    assert listing.notes == ("warning: val/ lacks 1 of 3 classes: b; the labels are those of train/",)


def test_an_empty_class_folder_of_test_that_train_lacks_is_only_counted(tmp_path):
    root = tree(tmp_path, "train/a/0.png", "test/a/1.png")
    (root / "test" / "b").mkdir()
    assert find(root).classes == ("a",)
    assert counts(root) == {"empty folders": 1}


def test_a_flat_test_folder_says_how_to_go_on(tmp_path):
    root = tree(tmp_path, "train/a/0.png", "test/1.png", "test/2.png")
    with pytest.raises(DatasetError, match=r"test has no images in class folders: it holds 2 \.png"):
        find(root)
    assert list(find(root, "train").splits) == ["train"]


def test_images_are_known_by_their_content(tmp_path):
    names = ("photo", "photo.jpg:large", "x.JPG_", "scan.tiff.bak", "paper.pdf")
    root = tree(tmp_path, "train/a/0.png")
    for name in names:
        Image.new("RGB", (4, 4), "red").save(root / "train" / "a" / name, "JPEG")
    assert {sample.key for sample in find(root).splits["train"]} == {
        "train/a/0.png", *(f"train/a/{name}" for name in names)
    }  # fmt: skip


def test_what_is_an_image_by_its_content_alone_is_told(tmp_path):
    files = [f"train/a/{number}.png" for number in range(6)]
    root = tree(tmp_path, *files, "test/a/6.png")
    names = ("a/1.nef", "a/2.nef", "a/3.jpg_original", "a/3.png~", "a/noname")
    for file, name in zip(files, names, strict=False):
        (root / file).rename(root / "train" / name)
    assert find(root).notes[1:] == (
        "taken as images by their first bytes: 2 .nef, such as train/a/1.nef, 1 .jpg_original, such as "
        "train/a/3.jpg_original, 1 .png~, such as train/a/3.png~, 1 without a suffix, such as train/a/noname; if they "
        "are backups of others, move them away",
    )
    tree(root, "train/b/7.png")
    assert find(root / "train").notes[-1].startswith("taken as images by their first bytes: 2 .nef, such as a/1.nef, ")


def test_what_only_looks_like_an_image_does_not_block_and_is_counted(tmp_path):
    root = tree(tmp_path, "train/a/0.png")
    for name, data in (
        ("a.pdf", b"%PDF-1.4"),
        ("b.h5", b"\x89HDF\r\n\x1a\n"),
        ("c.mpg", b"\0\0\1\xba"),
        ("d.txt", b"BM P6"),
    ):
        (root / "train" / "a" / name).write_bytes(data)
    assert [sample.key for sample in find(root).splits["train"]] == ["train/a/0.png"]
    assert counts(root) == {".pdf": 1, ".h5": 1, ".mpg": 1, ".txt": 1}


@pytest.mark.parametrize(
    "name", ["train/a/.1.png", "train/a/._0.png", "train/.ipynb_checkpoints/x.png", "__MACOSX/train/a/0.png",
             "Thumbs.db", "train/Thumbs.db", "train/@eaDir/0.png", "train/a/desktop.ini"],
)  # fmt: skip
def test_what_systems_leave_is_neither_image_nor_class(tmp_path, name):
    root = tree(tmp_path, "train/a/0.png", name + ".png")
    (root / f"{name}.png").rename(root / name)
    assert find(root).classes == ("a",)
    assert len(find(root).splits["train"]) == 1
    assert counts(root) == {"hidden": 1}


def test_linked_folders_are_followed_at_any_depth(tmp_path):
    tree(tmp_path / "disk", "b/er/1.png", "b/2.png", "more/er/3.png")
    root = tree(tmp_path / "raw", "train/a/0.png")
    (root / "train" / "b").symlink_to(tmp_path / "disk" / "b")
    (root / "train" / "a" / "more").symlink_to(tmp_path / "disk" / "more")
    assert [sample.key for sample in find(root).splits["train"]] == [
        "train/a/0.png", "train/a/more/er/3.png", "train/b/2.png", "train/b/er/1.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("train/a/more", "train/b", "train/b and .*train/a/more are one folder, .* twice, in 'b' and 'a'; remove"),
        (
            "train/a/more",
            "train/b/in",
            "train/b/in and .*train/a/more are one folder, .* twice, in 'b' and 'a'; remove",
        ),
        ("train/a/more", "train/a/in", "train/a/in and .*train/a/more are one folder, .* twice, in 'a'; remove"),
        ("train/a/more", "test/a", "figures of test would be those of images of train; .* --splits train,val$"),
        ("train/a/more", "test", "train/a/more/a and .*test/a are one folder, .*: figures of test would be"),
    ],
)
def test_a_link_below_the_classes_that_repeats_images_is_refused(tmp_path, link, target, message):
    names = ("0.png", "in/1.png", ".own/2.png")
    root = tree(
        tmp_path, *(f"{split}/{name}/{each}" for split in ("train", "val", "test") for name in "ab" for each in names)
    )
    (root / "train" / "a" / "own.png").symlink_to(root / "train/a/.own/2.png")  # is nothing else's image
    assert len(find(root).splits["train"]) == 5
    (root / link).symlink_to(root / target)
    with pytest.raises(DatasetError, match=message):
        find(root)


def test_links_to_files_that_repeat_images_are_told(tmp_path):
    root = tree(tmp_path / "raw", "train/a/0.png", "val/a/1.png", "test/a/2.png")
    pool = tree(tmp_path / "pool", "notes/.5.png", "6.png")
    for name in ("3.png", "4.png"):
        (root / "train/a" / name).symlink_to("0.png")
    (root / "test/a/5.png").symlink_to(root / "train/a/0.png")
    for split in ("val", "test"):
        (root / split / "a/6.png").symlink_to(pool / "6.png")
        (root / split / "a/notes").symlink_to(pool / "notes")  # holds no images
    assert find(root).notes[1:] == (  # after that of one class only
        f"warning: 2 images of train are there twice, because of links to files: {root}/train/a/3.png is "
        f"{root}/train/a/0.png",
        f"warning: an image of test is in train as well, because of links to files: {root}/test/a/5.png is "
        f"{root}/train/a/0.png",
        f"warning: an image of test is in val as well, because of links to files: {root}/test/a/6.png is "
        f"{root}/val/a/6.png",
    )


@pytest.mark.parametrize("above", ["", "train/", "test/"])
def test_a_link_that_makes_one_folder_two_classes_is_refused(tmp_path, above):
    files = {"": ["cats/0.png"], "train/": ["train/cats/0.png"], "test/": ["train/cats/0.png", "train/katze/1.png"]}
    root = tree(tmp_path, *files[above], f"{above}cats/2.png")
    (root / f"{above}katze").symlink_to("cats")
    message = f"{above}cats and .*{above}katze are one folder, .* twice, in 'cats' and 'katze'; remove the link"
    with pytest.raises(DatasetError, match=message):
        find(root)


@pytest.mark.parametrize("name", ["test", "test/a"])
def test_a_link_that_makes_train_another_split_is_refused_with_advice_that_works(tmp_path, name):
    root = tree(tmp_path, "train/a/0.png", "val/a/1.png")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(root / name.replace("test", "train"))
    with pytest.raises(DatasetError, match=r"train/a and .*test/a are one folder.*, or leave .* --splits train,val$"):
        find(root)
    assert [len(samples) for samples in find(root, "train", "val").splits.values()] == [1, 1]
    with pytest.raises(DatasetError, match=r"figures of test would be those of images of train; .* --splits train$"):
        find(root, "test")


def test_a_link_that_makes_one_folder_val_and_test_is_a_warning(tmp_path):
    root = tree(tmp_path, "train/a/0.png", "train/b/1.png", "val/a/1.png", "val/b/2.png")
    (root / "test").symlink_to("val")
    (warning,) = find(root).notes
    assert warning.startswith("warning: val and test have the same images, because of a link: ")
    assert len(find(root).splits["test"]) == 2


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_link_in_a_circle_is_refused_by_name(tmp_path, target):
    root = tree(tmp_path, "train/a/0.png")
    (root / "train" / "a" / "again").symlink_to(target)
    with pytest.raises(DatasetError, match="again is a link to a folder that holds it; remove the link"):
        find(root)


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path):
    root = tree(tmp_path, "train/a/0.png")
    (root / "train" / "a" / "x").symlink_to("x")
    assert counts(root) == {"without a suffix": 1}


def test_heic_without_its_plugin_is_counted_with_the_remedy(tmp_path, monkeypatch):
    from preprocess import formats
    from preprocess.datasets import census
    from preprocess.datasets import tree as walking

    root = tree(tmp_path, "train/a/0.png")
    for name in ("1.heic", "2.HEIC"):
        (root / "train" / "a" / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    without = frozenset(formats.suffixes() - {".heic", ".heif", ".hif", ".heics", ".heifs"})
    for module in (walking, census):
        monkeypatch.setattr(module, "suffixes", lambda: without)
    monkeypatch.setattr(walking, "is_readable", lambda name: name != "HEIF" and is_readable(name))
    assert counts(root) == {f".heic (the extra [heif] reads them: {install('heif')})": 2}
    (root / "train" / "a" / "0.png").unlink()
    with pytest.raises(DatasetError, match=r"class 'a' of train/ has no images .*2 \.heic \(the extra \[heif\]"):
        find(root)


@pytest.mark.parametrize("above", ["", "flower_photos", "archive/flower_photos"])
def test_one_folder_a_class_is_undivided_also_below_the_folder_of_an_archive(tmp_path, above):
    tree(tmp_path / above, "b/1.png", "a/0.png", "a/more/2.png")
    listing = find(tmp_path)
    assert listing.undivided
    assert listing.classes == ("a", "b")
    assert [sample.key for sample in listing.splits["train"]] == ["a/0.png", "a/more/2.png", "b/1.png"]


def test_an_empty_or_absent_folder_says_what_is_expected(tmp_path):
    with pytest.raises(MissingDataError, match=r"it is empty$"):
        find(tmp_path)
    with pytest.raises(MissingDataError, match="there is no folder"):
        find(tmp_path / "nowhere")
    paint(tmp_path / "1.png", 1)
    with pytest.raises(MissingDataError, match=r"1 \.png that are not listed, such as 1.png$"):
        find(tmp_path)


def test_a_split_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(SettingError, match=r"expected train or test, as in .*, got 'val'"):
        find(tree(tmp_path, "train/a/0.png", "test/a/1.png"), "train", "val")


def test_counts_are_told_kept_in_the_index_and_shown(tmp_path):
    root = tree(tmp_path / "raw", "train/a/0.png", "train/b/0.png", "train/lost.png")
    (root / "notes.txt").write_text("words")
    out = tmp_path / "x.h5"
    done = here("build", "folder", "--root", root, "--out", out, "--size", 8, "--segments", 4, "--jobs", 1, *QUICK)
    said = "1 .png that are not listed, such as train/lost.png; 1 .txt, such as notes.txt"
    assert f"left out of {root}: {said}" in done.stderr
    assert Store(out).document["left_out"] == {
        ".png that are not listed": {"count": 1, "example": "train/lost.png"},
        ".txt": {"count": 1, "example": "notes.txt"},
    }
    assert f"left out of the source: {said}" in here("inspect", out).output
    assert here("report", out, "--out", tmp_path / "x.html").exit_code == 0
    page = (tmp_path / "x.html").read_text()
    assert '<th scope="row" class="wide">.txt</th><td class="n">1</td><td class="wide">notes.txt</td>' in page


def test_lists_of_the_official_splits_are_told_with_the_command_that_reads_them(tmp_path):
    """As of Food-101, whose test images would be divided anew."""
    root = tree(tmp_path / "raw", "images/pie/0.png", "images/pie/1.png", "images/tart/0.png", "images/tart/1.png")
    (root / "meta").mkdir()
    for name, text in (("train", "pie/0\ntart/0\n"), ("test", "pie/1\ntart/1\n"), ("classes", "pie\ntart\n")):
        (root / "meta" / f"{name}.txt").write_text(text)
    given = ("--root", root, "--out", tmp_path / "x.h5", "--size", 8, "--segments", 4, "--jobs", 1, *QUICK)
    said = here("build", "folder", *given).stderr
    assert (
        "2 .txt that may list the splits (build table reads such lists: --table FILE for each), such as meta/test.txt; "
        "1 .txt, such as meta/classes.txt\n"
    ) in said
    tables = ("--table", root / "meta" / "train.txt", "--table", root / "meta" / "test.txt")
    assert "may list" not in here("build", "table", *tables, *given).stderr
    assert Store(tmp_path / "x.h5").keys("test") == ["images/pie/1.png", "images/tart/1.png"]


def test_images_of_splits_that_are_not_asked_for_are_told_as_such(tmp_path):
    root = tree(tmp_path / "raw", "train/a/0.png", "test/a/1.png", "test/a/2.png")
    given = ("--out", tmp_path / "x.h5", "--size", 8, "--segments", 4, "--jobs", 1, *QUICK)
    done = here("build", "folder", "--root", root, "--splits", "train", *given)
    assert "2 .png that are not listed with --splits train, such as test/a/1.png" in done.stderr
    assert here("build", "folder", "--root", root, *given).exit_code == 0
    assert "left_out" not in Store(tmp_path / "x.h5").document


def test_only_the_first_kinds_are_spelled_out():
    left_out = {f".{number}": (number, f"x.{number}") for number in range(10, 0, -1)}
    assert describe(left_out).endswith("; 3 .3, such as x.3; 2 other kinds")
    assert count_unlisted({".png that are not listed": (3, "x"), ".txt": (2, "y")}) == 3


def test_the_folders_of_the_cases_are_taken():
    if not CASES.is_dir():
        pytest.skip("the cases are not beside this checkout")
    whole = find(CASES / "layout-validation")
    assert {split: len(samples) for split, samples in whole.splits.items()} == {"train": 6, "val": 4}
    partial = find(CASES / "layout-empty-val-class")
    assert partial.classes == ("a", "b", "c")
    assert [(sample.key, sample.label) for sample in partial.splits["val"]] == [("val/a/1.jpg", 0), ("val/c/1.jpg", 2)]
    assert "lacks 1 of 3 classes: b" in partial.notes[0]


def test_names_that_are_not_utf8_are_counted(tmp_path):
    root = tree(tmp_path, "train/a/0.png")
    try:
        (root / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert describe(count_left_out(root, ())).startswith("1 .png that are not listed")
