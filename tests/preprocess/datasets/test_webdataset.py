"""Tar files of images and labels; the library webdataset writes most of them."""

import contextlib
import io
import pickle
import subprocess
import tarfile
from pathlib import Path

import braceexpand
import numpy as np
import pytest
import webdataset
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.datasets import DATASETS, Listing, Request, tars
from preprocess.datasets.webdataset import expand, find_webdataset
from preprocess.errors import DatasetError, MissingDataError
from preprocess.inspect.diff import differences
from tests.preprocess.conftest import SMALL, here


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(path: Path, *samples: dict) -> Path:
    """A tar file of samples: ``__key__``, and members by the rest of their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for sample in samples:
            writer.write(
                {
                    name: data.encode() if isinstance(data, str) and name != "__key__" else data
                    for name, data in sample.items()
                }
            )
    return path


def two(path: Path, first: int = 0) -> Path:
    """Two samples, ``a/0`` of class 0 and ``b/1`` of class 1."""
    pictures = (
        {"__key__": f"{'ab'[each]}/{first + each}", "png": png(first + each), "cls": f"{each}"} for each in (0, 1)
    )
    return write(path, *pictures)


def listed(listing: Listing) -> dict[str, list[tuple[str, int]]]:
    return {split: [(each.key, each.label) for each in samples] for split, samples in listing.splits.items()}


def stored(listing: Listing, out: Path) -> Path:
    build(make_plan(out, listing, SMALL), 1, False, lambda done: None)
    return out


def write_noisy(noisy: Path, home: Path) -> None:
    """Write the pictures of ``noisy`` with the library, three to a file."""
    home.mkdir(exist_ok=True)
    for split in ("train", "test"):
        with webdataset.ShardWriter(str(home / f"noisy-{split}-%03d.tar"), maxcount=3, verbose=0) as writer:
            for path in sorted((noisy / split).rglob("*.png")):
                name = path.relative_to(noisy).with_suffix("").as_posix()
                writer.write({"__key__": name, "png": path.read_bytes(), "cls": "ab".index(path.parent.name)})


def test_shards_of_the_library_give_the_store_of_the_folder(noisy, tmp_path):
    write_noisy(noisy, tmp_path / "shards")
    (tmp_path / "shards" / "classes.txt").write_text("a\nb\n")
    assert len(list((tmp_path / "shards").glob("*.tar"))) == 6  # 4 of ten training images, 2 of six others
    listing = find_webdataset(tmp_path / "shards")
    assert listing.notes == (
        "images: .png (16); labels: .cls",
        f"classes: 2, named in {tmp_path / 'shards' / 'classes.txt'}",
        "splits by the names of the tar files: train (4), test (2)",
    )
    ours = stored(listing, tmp_path / "x.h5")
    assert list(differences(ours, stored(DATASETS["folder"].find(noisy), tmp_path / "folder.h5"))) == []


@pytest.mark.parametrize(
    "pattern",
    ["s-{000..002}.tar", "s-*.tar", "s-00[0-2].tar", "{s,s}-00{0..2..1}.tar", "."],
)
def test_a_pattern_a_folder_and_one_file_are_read(tmp_path, pattern):
    for number in range(3):
        two(tmp_path / f"s-00{number}.tar", 2 * number)
    listing = find_webdataset(tmp_path / pattern)
    keys = [f"{'ab'[number % 2]}/{number}.png" for number in range(6)]
    assert listed(listing) == {"train": [(key, number % 2) for number, key in enumerate(keys)]}
    assert listing.undivided
    assert listing.classes == ("0", "1")
    assert len(listed(find_webdataset(tmp_path / "s-001.tar"))["train"]) == 2


def test_a_gap_in_a_folder_is_told_and_a_pattern_is_taken_at_its_word(tmp_path):
    for number in (1, 2, 5):
        two(tmp_path / "run" / f"s-00{number}.tar", 2 * number)
    two(tmp_path / "run" / "x-1.tar", 20)
    two(tmp_path / "run" / "x-20210101.tar", 30)  # a date is no running number
    warning = (
        "warning: numbers are missing among the 3 files s-NUMBER.tar: 3, 4; if they are parts of the set, fetch them"
    )
    assert [note for note in find_webdataset(tmp_path / "run").notes if "missing" in note] == [warning]
    assert not any("missing" in note for note in find_webdataset(tmp_path / "run" / "s-*.tar").notes)
    two(tmp_path / "parts" / "s-00001-of-00003.tar")
    with pytest.raises(DatasetError, match=r"2 of 3 files s\.\.\. are missing: number 0, 2; fetch them"):
        find_webdataset(tmp_path / "parts")
    assert len(find_webdataset(tmp_path / "parts" / "*.tar").splits["train"]) == 2


PATTERNS = [
    "a{000..007}.tar",
    "{a,b}{1..3}",
    "{x{1,2},y}",
    "{9..11}",
    "{08..11}",
    "{5..1}",
    "{1..9..3}",
    "a{b}c{d}",
    "{}",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_braces_are_written_out_as_the_library_does(pattern):
    assert expand(pattern) == list(braceexpand.braceexpand(pattern))


def test_braces_without_an_end_are_refused():
    for pattern in ("{0..999999999}", "{0..9}" * 9, "{a," * 2_000):
        with pytest.raises(DatasetError, match="more than 100,000 files"):
            expand(pattern)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("imagenet-val-0.tar", "imagenet-train-0.tar"), {"train", "val"}),
        (("Validation/000.tar", "training/000.tar"), {"train", "val"}),
        (("train/000.tar", "eval_set/000.tar"), {"train", "test"}),
        (("trainset-000.tar", "testset-000.tar"), {"train", "test"}),
        (("imagenetTrain-000.tar", "imagenetVal-000.tar"), {"train", "val"}),
        (("Train1/000.tar", "Evalset/000.tar"), {"train", "test"}),
    ],
)
def test_splits_are_words_in_names_of_files_and_folders(tmp_path, names, splits):
    for name in names:
        two(tmp_path / name)
    listing = find_webdataset(tmp_path)
    assert set(listing.splits) == splits
    assert not listing.undivided
    assert set(find_webdataset(tmp_path, Request(splits=("train",))).splits) == {"train"}


def test_a_file_of_no_split_beside_others_is_refused_or_left_out(tmp_path):
    two(tmp_path / "train-0.tar")
    extra = two(tmp_path / "extra.tar")
    with pytest.raises(DatasetError, match=r"extra\.tar names no split.*--splits train"):
        find_webdataset(tmp_path)
    listing = find_webdataset(tmp_path, Request(splits=("train",)))
    assert len(listing.splits["train"]) == 2
    assert extra not in listing.tables
    with pytest.raises(DatasetError, match="has no split 'val'; it has train"):
        find_webdataset(tmp_path, Request(splits=("val",)))


def test_a_file_of_both_train_and_val_beside_others_is_refused(tmp_path):
    two(tmp_path / "trainval-0.tar")
    two(tmp_path / "testset-0.tar")
    with pytest.raises(DatasetError, match=r"trainval-0\.tar names no split, as .*testset-0\.tar does"):
        find_webdataset(tmp_path)


@pytest.mark.parametrize(
    ("members", "request_", "label"),
    [
        ({"jpg": b"", "cls": "7"}, {}, "7"),
        ({"jpg": b"", "cls": "cat"}, {}, "cat"),
        ({"jpg": b"", "label.txt": " 7 \n"}, {}, "7"),
        ({"jpg": b"", "txt": "7"}, {}, "7"),
        ({"jpg": b"", "txt": "a photo of a cat", "json": '{"label": 7, "url": "x"}'}, {}, "7"),
        ({"jpg": b"", "json": '{"id": 1, "class_name": "caf\\u00e9"}'}, {}, "caf\u00e9"),
        ({"jpg": b"", "cls": "7", "json": '{"breed": "pug"}'}, {"label": "breed"}, "pug"),
        ({"jpg": b"", "txt": "pug", "json": "{}"}, {"label": ".txt"}, "pug"),
        ({"jpg": b"", "seg.png": b"", "cls": "7"}, {}, "7"),
        ({"left.jpg": b"", "right.jpg": b"", "cls": "7"}, {"image": "left.jpg"}, "7"),
        ({"JPG": b"", "Cls": "7"}, {}, "7"),
        ({"img": png(), "cls": "7"}, {}, "7"),
    ],
)
def test_image_and_label_are_told_from_the_members(tmp_path, members, request_, label):
    write(tmp_path / "x.tar", {"__key__": "d.e/f", **members})
    listing = find_webdataset(tmp_path, Request(**request_))
    assert listing.classes == (label,)
    image = next(iter(members)) if "JPG" not in members else "JPG"
    assert listed(listing) == {"train": [(f"d.e/f.{image}", 0)]}


def test_an_image_reads_its_bytes_in_a_worker(tmp_path):
    two(tmp_path / "x.tar")
    samples = pickle.loads(pickle.dumps(find_webdataset(tmp_path).splits["train"]))
    assert [each.read() for each in samples] == [png(0), png(1)]
    assert [each.size() for each in samples] == [len(png(0)), len(png(1))]
    with (tmp_path / "x.tar").open("r+b") as file:
        file.truncate(samples[1].offset + 3)
    with pytest.raises(OSError, match="the file ends before the image does"):
        samples[1].read()


def test_long_names_and_a_tar_of_the_standard_library_are_read(tmp_path):
    name = f"{'x' * 120}/{'y' * 120}"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
            for rest, data in ((".png", png()), (".cls", b"0")):
                info = tarfile.TarInfo(f"./{name}{rest}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        (sample,) = find_webdataset(tmp_path).splits["train"]
        assert sample.key == f"{name}.png"
        assert sample.read() == png()


def test_names_of_classes_above_the_split_folders_are_taken(tmp_path):
    two(tmp_path / "test" / "0.tar")
    two(tmp_path / "train" / "0.tar")
    (tmp_path / "classnames.txt").write_text("night owl\nrobin\n")
    listing = find_webdataset(tmp_path)
    assert listing.classes == ("night owl", "robin")
    assert tmp_path / "classnames.txt" in listing.tables


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("2 night owl\n0: ant\n1,cat\n\n", ("ant", "cat", "night owl")),
        ("2 dog\n0 ant\n2 cat\n", ("2 dog", "0 ant", "2 cat")),
        ("1 dog\n2 ant\n3 cat\n", ("1 dog", "2 ant", "3 cat")),
    ],
)
def test_names_of_classes_after_their_numbers_are_in_the_order_of_these(tmp_path, text, classes):
    two(tmp_path / "0.tar")
    (tmp_path / "classes.txt").write_text(text)
    listing = find_webdataset(tmp_path)
    assert listing.classes == classes
    said = f"classes: 3, named in {tmp_path / 'classes.txt'}{', after their numbers' if 'ant' in classes else ''}"
    assert said in listing.notes


@pytest.mark.parametrize("text", ["ant\n\ncat\n", "\nant\ncat\n"])
def test_an_empty_line_between_names_of_classes_is_refused(tmp_path, text):
    two(tmp_path / "0.tar")
    (tmp_path / "classes.txt").write_text(text)
    number = text.split("\n").index("")
    with pytest.raises(DatasetError, match=rf"line {number + 1}: expected the name of class {number}, got an empty"):
        find_webdataset(tmp_path)


def test_numbers_are_sorted_as_numbers_and_a_class_that_train_lacks_is_refused(tmp_path):
    write(tmp_path / "train.tar", *({"__key__": f"{n}", "png": b"", "cls": f"{n}"} for n in (10, 9, 2)))
    write(tmp_path / "test.tar", {"__key__": "1", "png": b"", "cls": "10"})
    listing = find_webdataset(tmp_path, Request(splits=("test",)))  # numbered by train
    assert listing.classes == ("2", "9", "10")
    assert listed(listing) == {"test": [("1.png", 2)]}
    assert "warning: test lacks 2 of 3 classes: 2, 9; the labels are those of train" in listing.notes
    write(tmp_path / "test.tar", {"__key__": "1", "png": b"", "cls": "3"})
    with pytest.raises(DatasetError, match="test has labels without a class: 3; the 3 classes are 2, 9, 10"):
        find_webdataset(tmp_path)


def test_names_of_classes_in_messages_do_not_command_a_terminal(tmp_path):
    (tmp_path / "classes.txt").write_text("ant\nc\x1b[2Jt\n")
    write(tmp_path / "train.tar", {"__key__": "1", "png": b"", "cls": "0"})
    write(tmp_path / "test.tar", {"__key__": "2", "png": b"", "cls": "0"})
    lacking = "lacks 1 of 2 classes: c\ufffd[2Jt"
    assert {f"warning: train {lacking}", f"warning: test {lacking}"} <= set(find_webdataset(tmp_path).notes)
    write(tmp_path / "test.tar", {"__key__": "2", "png": b"", "cls": "1"})
    with pytest.raises(DatasetError, match=r"^test has classes that train lacks, .*: c\ufffd\[2Jt; give train samples"):
        find_webdataset(tmp_path)
    assert find_webdataset(tmp_path, Request(splits=("test",))).classes == ("ant", "c\x1b[2Jt")
    write(tmp_path / "test.tar", {"__key__": "2", "png": b"", "cls": "2"})
    with pytest.raises(DatasetError, match=r"the 2 classes are ant, c\ufffd\[2Jt$"):
        find_webdataset(tmp_path)


@pytest.mark.parametrize("names", [None, "cat\ndog\n", "NA\ndog\n"])
def test_words_for_none_are_no_class_unless_one_has_the_name(tmp_path, names):
    labels = ["0", "1", "NA", "1"] if names is None else [*names.split(), "NA", "dog"]
    write(tmp_path / "x.tar", *({"__key__": str(n), "png": png(n), "cls": label} for n, label in enumerate(labels)))
    if names:
        (tmp_path / "classes.txt").write_text(names)
    found = [each.label for each in find_webdataset(tmp_path).splits["train"]]
    assert found == ([0, 1, 0, 1] if names == "NA\ndog\n" else [0, 1, 1])


def test_what_is_left_out_is_counted(tmp_path):
    samples = [{"__key__": f"{n}", "png": b"", "cls": f"{n % 2}", "mask.png": b""} for n in range(9)]
    del samples[0]["cls"], samples[5]["png"], samples[5]["mask.png"], samples[7]["mask.png"]
    samples[8]["cls"] = "-1"
    path = write(tmp_path / "raw" / "x.tar", *samples)
    with tarfile.open(path, "a") as tar:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("README", tarfile.REGTYPE), ("dev.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(b""))
    listing = find_webdataset(tmp_path / "raw")
    assert [each.key for each in listing.splits["train"]] == ["1.png", "2.png", "3.png", "4.png", "6.png", "7.png"]
    assert listing.notes[1:] == (
        "not stored: the members .mask.png (6); the store has no place for masks and texts",
        "classes: 2, named as their labels are",
        "warning: train: 1 of 7 images have no label (none, or -1) and are left out, the first is number 7",
    )
    assert listing.left_out == {
        "links, devices or sparse files in tar files": (2, "x.tar: link.png"),
        "files in tar files that belong to no sample": (1, "x.tar: README"),
        "images without a label": (2, "x.tar: 0 (mask.png, png)"),  # and the one with -1
        "samples without an image": (1, "x.tar: 5"),
    }
    done = here(
        "build", "webdataset", "--root", tmp_path / "raw", "--out", tmp_path / "no.h5", "--split", "train", "--dry-run"
    )
    assert "left out of" in done.output
    assert "2 images without a label, such as x.tar: 0" in done.output


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [{"jpg": b"", "png": b"", "cls": "0"}],
            r"x\.tar: k0 has several images: jpg, png; choose one with --image jpg",
        ),
        ([{"jpg": b"", "txt": "a cat"}], "have 0 images with labels: 1 images without a label.*--label"),
        ([{"npy": b"123", "cls": "0"}], "1 samples without an image"),
        ([{"jpg": b"", "cls": "0"}, {"jpg": b""}, {"jpg": b""}], "have 1 images with labels: 2 images without a label"),
        (
            [{"jpg": b"", "json": '{"label": 7}'}, {"jpg": b"", "json": '{"label": "cat"}'}],
            "numbers or all names, got 7 and 'cat'",
        ),
        ([{"jpg": b"", "cls": b"\xff\xfe"}], r"k0\.cls is not UTF-8"),
        ([{"jpg": b"", "cls": ""}], r"k0\.cls: expected the number or the name of a class, got ''"),
        ([{"jpg": b"", "cls": "x" * 400}], "expected the number or the name of a class"),
        ([{"jpg": b"", "cls": "x" * 2_000_000}], "2,000,000 bytes, too many for a label"),
        ([{"jpg": b"", "json": "[" * 100_000}], r"k0\.json: it is nested too deeply"),
        ([{"jpg": b"", "json": "[1]"}], "expected fields by name, got list"),
        ([{"jpg": b"", "json": '{"label": [1]}'}], r"expected a number or a name in 'label', got '\[1\]'"),
        ([{"jpg": b"", "cls": "-1"}], "none of its 1 images has a label"),
    ],
)
def test_samples_that_tell_no_image_or_label_are_refused(tmp_path, samples, message):
    write(tmp_path / "x.tar", *({"__key__": f"k{number}", **sample} for number, sample in enumerate(samples)))
    with pytest.raises(DatasetError, match=message):
        find_webdataset(tmp_path)


def test_labels_beyond_the_class_names_are_refused(tmp_path):
    two(tmp_path / "x.tar")
    (tmp_path / "classes.txt").write_text("only one\n")
    with pytest.raises(DatasetError, match="train has labels without a class: 1; the 1 classes are only one"):
        find_webdataset(tmp_path)


def test_one_key_in_two_files_names_both(tmp_path):
    two(tmp_path / "0.tar")
    two(tmp_path / "1.tar")
    with pytest.raises(DatasetError, match=r"0\.tar and .*1\.tar both hold a/0\.png; if one is a copy"):
        find_webdataset(tmp_path)


def test_a_member_that_is_there_twice_is_named(tmp_path):
    write(tmp_path / "x.tar", {"__key__": "k", "png": b"1", "PNG": b"2", "cls": "0"})
    with pytest.raises(DatasetError, match=r"x\.tar holds k\.png twice"):
        find_webdataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "magic"),
    [("x.tar.gz", "gz"), ("x.tgz", "gz"), ("x y.tar", "gz"), ("x.tar.bz2", "bz2"), ("x.tar.xz", "xz"), ("x.tar", "xz")],
)
def test_the_command_for_a_compressed_file_works(tmp_path, name, magic):
    two(tmp_path / "plain")
    with tarfile.open(tmp_path / "plain") as plain, tarfile.open(tmp_path / name, f"w:{magic}") as packed:
        for info in plain:
            packed.addfile(info, plain.extractfile(info))
    with pytest.raises(DatasetError, match="is compressed") as caught:
        find_webdataset(tmp_path)
    command = str(caught.value).rpartition(".tar: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [path.name for path in tmp_path.glob("*.t*")] == ["x y.tar" if " " in name else "x.tar"]
    assert len(find_webdataset(tmp_path).splits["train"]) == 2


def test_what_is_not_there_is_named(tmp_path):
    two(tmp_path / "0.tar")
    with pytest.raises(MissingDataError, match=r"missing: 2 of 3 files, the first is .*1\.tar"):
        find_webdataset(tmp_path / "{0..2}.tar")
    with pytest.raises(MissingDataError, match=r"missing: .*x-\*\.tar"):
        find_webdataset(tmp_path / "x-*.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match=r"has no \.tar files"):
        find_webdataset(tmp_path / "empty")
    with pytest.raises(DatasetError, match="is not on this machine"):
        find_webdataset(Path("https://example.org/{000..007}.tar"))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def in_a_member(data: bytes) -> bytes:
    return data[: 512 + 20]


def no_end(data: bytes) -> bytes:
    return data.rstrip(b"\0")


def bad_sum(data: bytes) -> bytes:
    return data[:1024] + b"\x01" + data[1025:]


def huge_header(data: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    return info.tobuf(tarfile.GNU_FORMAT) + data


def huge_member(data: bytes) -> bytes:
    info = tarfile.TarInfo("x.png")
    info.size = 1 << 50
    return info.tobuf(tarfile.GNU_FORMAT) + data


def negative(data: bytes) -> bytes:
    info = tarfile.TarInfo("x.png")
    info.size = -512
    return info.tobuf(tarfile.GNU_FORMAT) + data


@pytest.mark.parametrize(
    "damage",
    [cut, in_a_member, no_end, bad_sum, huge_header, huge_member, negative, lambda data: b"", lambda data: png()],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = two(tmp_path / "x.tar")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"x\.tar is damaged: .*; fetch or write it again"):
        find_webdataset(tmp_path)


def test_any_changed_byte_of_a_header_gives_a_listing_or_a_clear_error(tmp_path):
    path = two(tmp_path / "x.tar")
    data, random, told = path.read_bytes(), np.random.default_rng(0), []
    for place in random.integers(0, 3 * 512, 300):
        changed = bytearray(data)
        changed[place] = random.integers(256)
        path.write_bytes(changed)
        try:
            find_webdataset(tmp_path)
        except DatasetError as error:
            told.append(str(error))
    assert len(told) > 100
    assert all("x.tar" in text for text in told)


def test_the_fast_way_finds_what_tarfile_finds(tmp_path, monkeypatch):
    random, path = np.random.default_rng(3), tmp_path / "x.tar"

    def scan() -> list | None:
        with path.open("rb") as file, contextlib.suppress(DatasetError):
            return list(tars.members(path, file))
        return None

    for number in range(150):
        with tarfile.open(
            path, "w", format=(tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[number % 3]
        ) as tar:
            for name in ("a/b.png", "x" * 99, f"{'d/' * 40}{'y' * 30}", "\u00e9.cls"):
                info = tarfile.TarInfo(name)
                info.mtime = random.choice((5, 1.5))
                info.type = random.choice((tarfile.REGTYPE,) * 4 + (tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE))
                info.size = int(random.integers(1500)) if info.isreg() else 0
                tar.addfile(info, io.BytesIO(bytes(info.size)))
        data = bytearray(path.read_bytes())
        for _ in range(number % 4):
            data[random.integers(4096)] = random.integers(256)
        path.write_bytes(data)
        fast = scan()
        with monkeypatch.context() as patch:
            patch.setattr(tars, "_plain", lambda file, place: None)
            assert fast == scan()
