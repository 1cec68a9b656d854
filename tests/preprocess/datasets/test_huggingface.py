"""Hugging Face data sets on a disk; the library datasets writes them, or pandas-like tables of pyarrow."""

import io
import json
import pickle
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.datasets import DATASETS, Listing, Request
from preprocess.datasets.huggingface import find_hf
from preprocess.errors import DatasetError, ImageError, MissingDataError
from preprocess.extras import PackageError
from preprocess.inspect.diff import differences
from preprocess.store import Store
from tests.preprocess.conftest import SMALL, here

datasets.disable_progress_bars()
FEATURES = Features({"image": datasets.Image(), "label": ClassLabel(names=["a", "b"])})


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    """The library must not write into the home of whoever runs the tests."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def of_folder(noisy: Path, split: str) -> Dataset:
    paths = sorted((noisy / split).rglob("*.png"))
    labels = ["ab".index(path.parent.name) for path in paths]
    return Dataset.from_dict({"image": list(map(str, paths)), "label": labels}, features=FEATURES)


def pictures(count: int, features: Features = FEATURES, **columns: list) -> Dataset:
    """Pictures 0, 1, ... of classes 0, 1, 0, ..., each in the bytes that the library would embed."""
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(count)]
    return Dataset.from_dict(
        {"image": images, "label": [number % 2 for number in range(count)], **columns}, features=features
    )


def table(home: Path, name: str = "x.parquet", **columns: object) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), home / name)
    return home / name


def listed(listing: Listing) -> dict[str, list[tuple[str, int]]]:
    return {split: [(each.key, each.label) for each in samples] for split, samples in listing.splits.items()}


def stored(listing: Listing, out: Path) -> Path:
    build(make_plan(out, listing, SMALL), 1, False, lambda done: None)
    return out


def save_to_disk(noisy: Path, home: Path) -> None:
    both = DatasetDict(train=of_folder(noisy, "train"), test=of_folder(noisy, "test"))
    both.save_to_disk(home, num_shards={"train": 3, "test": 1})


def hub_parquet(noisy: Path, home: Path) -> None:
    """As the Hub stores it: images embedded, two files of three groups of rows."""
    (home / "data").mkdir(parents=True)
    for split in ("train", "test"):
        whole = of_folder(noisy, split)
        for number in range(2):
            part = whole.shard(2, number, contiguous=True)
            path = home / "data" / f"{split}-0000{number}-of-00002.parquet"
            part.with_format("arrow").map(datasets.table.embed_table_storage, batched=True).to_parquet(
                path, batch_size=2
            )


def image_folder(noisy: Path, home: Path) -> None:
    home.mkdir()
    for split in ("train", "test"):
        (home / split).symlink_to(noisy / split)


def metadata(noisy: Path, home: Path) -> None:
    """One table for each split, CSV and JSON lines."""
    for split in ("train", "test"):
        (home / split).mkdir(parents=True)
        names = [path.relative_to(noisy / split).as_posix() for path in sorted((noisy / split).rglob("*.png"))]
        for name in names:
            (home / split / name).parent.mkdir(exist_ok=True)
            (home / split / name).write_bytes((noisy / split / name).read_bytes())
        if split == "train":
            text = "file_name,class\n" + "".join(f"{name},{name[0]}\n" for name in names)
            (home / split / "metadata.csv").write_text(text)
        else:
            lines = (json.dumps({"file_name": name, "class": name[0]}) for name in names)
            (home / split / "metadata.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("write", [save_to_disk, hub_parquet, image_folder, metadata])
def test_every_form_gives_the_store_of_the_folder(noisy, tmp_path, write):
    write(noisy, tmp_path / "hf")
    ours = stored(find_hf(tmp_path / "hf"), tmp_path / "hf.h5")
    assert list(differences(ours, stored(DATASETS["folder"].find(noisy), tmp_path / "folder.h5"))) == []


def test_the_listing_says_what_it_guessed_and_read(noisy, tmp_path):
    save_to_disk(noisy, tmp_path / "hf")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    listing = find_hf(tmp_path)
    assert listing.notes == ("images: column image; labels: column label",)
    assert {str(path.relative_to(tmp_path / "hf")) for path in listing.tables} == {
        "dataset_dict.json",
        *(f"{split}/{name}.json" for split in ("train", "test") for name in ("state", "dataset_info")),
        *(f"train/data-0000{number}-of-00003.arrow" for number in range(3)),
        "test/data-00000-of-00001.arrow",
    }
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}  # no cache anywhere


def test_a_data_set_alone_is_undivided_unless_it_names_its_split(tmp_path):
    whole = pictures(3)
    whole.save_to_disk(tmp_path / "x")
    listing = find_hf(tmp_path / "x")
    assert listed(listing) == {"train": [("a/0.png", 0), ("b/1.png", 1), ("a/2.png", 0)]}
    assert listing.undivided
    state = json.loads((tmp_path / "x" / "state.json").read_text())
    (tmp_path / "x" / "state.json").write_text(json.dumps(state | {"_split": "validation"}))
    listing = find_hf(tmp_path / "x")
    assert listed(listing) == {"val": [("val/a/0.png", 0), ("val/b/1.png", 1), ("val/a/2.png", 0)]}
    assert not listing.undivided


def test_rows_keep_their_order_and_read_in_any(tmp_path):
    whole = pictures(20)
    whole.save_to_disk(tmp_path / "arrow", num_shards=3)
    (tmp_path / "parquet").mkdir()
    whole.to_parquet(tmp_path / "parquet" / "x.parquet", batch_size=7)
    for name in ("arrow", "parquet"):
        samples = pickle.loads(pickle.dumps(find_hf(tmp_path / name).splits["train"]))
        assert [each.key for each in samples] == [f"{'ab'[number % 2]}/{number}.png" for number in range(20)]
        for number in (0, 19, 3, 4, 8, 7, 6, 13, 14, 2):
            assert samples[number].read() == png(number)
    assert [each.size() for each in find_hf(tmp_path / "arrow").splits["train"]] == [len(png(n)) for n in range(20)]


def test_shuffled_and_filtered_rows_are_those_of_the_library(tmp_path):
    chosen = pictures(20).shuffle(seed=3).filter(lambda row: row["label"] == 1)
    chosen.save_to_disk(tmp_path / "x")
    expected = [row["image"]["path"] for row in chosen.cast_column("image", datasets.Image(decode=False))]
    assert [f"b/{name}" for name in expected] == [each.key for each in find_hf(tmp_path / "x").splits["train"]]


@pytest.mark.parametrize("saved", [True, False])
def test_images_beside_a_table_are_read_where_they_are(noisy, tmp_path, saved):
    (tmp_path / "hf").mkdir()
    for number in range(2):
        (tmp_path / "hf" / f"{number}.png").write_bytes(png(number))
    paths = [str(tmp_path / "hf" / "0.png"), "1.png"]
    table(
        tmp_path / "hf",
        "train.parquet",
        image=[{"bytes": None, "path": path} for path in paths] if saved else paths,
        label=["x", "y"],
    )
    listing = find_hf(tmp_path / "hf")
    assert listed(listing) == {"train": [("0.png", 0), ("1.png", 1)]}
    assert [each.read() for each in listing.splits["train"]] == [png(0), png(1)]


def test_images_elsewhere_are_refused_with_advice_that_works(noisy, tmp_path):
    (tmp_path / "hf").mkdir()
    of_folder(noisy, "train").to_parquet(tmp_path / "hf" / "train.parquet")
    with pytest.raises(DatasetError, match=r"lies outside of .*hf; save the data set with save_to_disk, which stores"):
        find_hf(tmp_path / "hf")
    loaded = Dataset.from_parquet(str(tmp_path / "hf" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    loaded.save_to_disk(tmp_path / "saved")
    assert len(find_hf(tmp_path / "saved").splits["train"]) == 10


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../b.png", "a\0b.png", "."])
def test_paths_that_leave_the_folder_are_refused(tmp_path, path):
    (tmp_path / "secret.png").write_bytes(png())
    table(tmp_path / "hf", image=[path], label=[0])
    with pytest.raises(DatasetError, match="lies outside of"):
        find_hf(tmp_path / "hf")
    table(tmp_path / "held", image=[{"bytes": png(), "path": path}], label=[0])
    assert find_hf(tmp_path / "held").splits["train"][0].key in ("0/secret.png", "0/passwd", "0/b.png", "0/000000")


def test_missing_files_are_counted(tmp_path):
    table(tmp_path, file_name=["1.png", "2.png"], label=[0, 1])
    with pytest.raises(DatasetError, match=r"train: 2 of 2 images are missing, the first is .*1\.png; put them there"):
        find_hf(tmp_path)
    (tmp_path / "1.PNG").write_bytes(png())
    with pytest.raises(DatasetError, match=r"the first is .*1\.png; 1\.PNG is there: correct the table$"):
        find_hf(tmp_path)
    table(tmp_path, file_name=["e\u0301.png"], label=[0])
    (tmp_path / "\u00e9.png").write_bytes(png())
    with pytest.raises(DatasetError, match=r"; \u00e9\.png is there, in another Unicode form: correct the table$"):
        find_hf(tmp_path)


@pytest.mark.parametrize("form", ["pandas", "large", "dictionary", "binary", "view"])
def test_a_table_without_features_is_read(tmp_path, form):
    data, names = [png(0), png(1), png(2)], ["y", "x", "y"]
    columns = {
        "pandas": (pa.array([{"bytes": each, "path": None} for each in data]), pa.array([1.0, 0.0, None])),
        "large": (pa.array(data, pa.large_binary()), pa.array(names, pa.large_string())),
        "dictionary": (pa.array(data), pa.array(names).dictionary_encode()),
        "binary": (pa.array(data), pa.array([3, 1, 3], pa.uint8())),
        "view": (pa.array(data, pa.binary_view()), pa.array(names, pa.string_view())),
    }[form]
    table(tmp_path / "parquet", img=columns[0], label=columns[1])
    with (
        pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("img", columns[0].type), ("label", columns[1].type)])) as writer,
    ):
        writer.write(pa.record_batch(dict(zip(("img", "label"), columns, strict=True))))
    (tmp_path / "arrow").mkdir()
    (tmp_path / "x.arrow").rename(tmp_path / "arrow" / "x.arrow")
    classes = {"pandas": ("0", "1"), "binary": ("1", "3")}.get(form, ("x", "y"))
    for home in ("parquet", "arrow"):
        listing = find_hf(tmp_path / home)
        assert listing.classes == classes
        first, second = classes[1], classes[0]
        expected = [(f"{first}/000000", 1), (f"{second}/000001", 0), (f"{first}/000002", 1)]
        assert listed(listing) == {"train": expected[: 2 if form == "pandas" else 3]}
        assert [each.read() for each in listing.splits["train"]] == data[: len(listing.splits["train"])]
    if form == "pandas":
        assert listing.notes[-1] == (
            "warning: train: 1 of 3 images have no label (none, or -1) and are left out, the first is number 3"
        )


def test_columns_can_be_chosen(tmp_path):
    table(tmp_path, left=[png(0)], right=[png(1)], breed=["pug"], age=[3])
    with pytest.raises(DatasetError, match="several columns of images: left, right; choose one with --image"):
        find_hf(tmp_path)
    with pytest.raises(DatasetError, match=r"no column of labels: expected label.*--label; it has .*breed \(string\)"):
        find_hf(tmp_path, Request(image="right"))
    listing = find_hf(tmp_path, Request(image="right", label="breed"))
    assert listed(listing) == {"train": [("pug/000000", 0)]}
    assert listing.splits["train"][0].read() == png(1)
    assert listing.notes[1] == "not stored: the images of left; the store has no place for masks"
    for request, message in (
        (Request(image="age", label="breed"), r"--image age: expected bytes, a struct.*age \(int64\)"),
        (Request(image="right", label="left"), r"--label left: expected numbers or names; it has left \(binary\)"),
    ):
        with pytest.raises(DatasetError, match=message):
            find_hf(tmp_path, request)


def test_of_two_columns_of_classes_the_fine_one_is_taken_and_the_other_named(tmp_path):
    features = Features(
        {"img": datasets.Image(), "fine_label": ClassLabel(names=["z", "y"]), "coarse_label": ClassLabel(names=["c"])}
    )
    columns = {"img": [{"bytes": png(), "path": None}] * 2, "fine_label": [0, 1], "coarse_label": [0, 0]}
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "x")
    listing = find_hf(tmp_path)
    assert listing.classes == ("z", "y")  # in the order of the feature
    assert listing.notes == ("images: column img; labels: column fine_label; coarse_label may be meant (--label)",)
    assert find_hf(tmp_path, Request(label="coarse_label")).classes == ("c",)


def test_a_column_called_label_comes_before_classes_of_another_name(tmp_path):
    features = Features({"img": datasets.Image(), "camera": ClassLabel(names=["a"]), "label": datasets.Value("string")})
    columns = {"img": [{"bytes": png(), "path": None}] * 2, "camera": [0, 0], "label": ["dog", "cat"]}
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "x")
    listing = find_hf(tmp_path)
    assert listing.classes == ("cat", "dog")
    assert listing.notes[0] == "images: column img; labels: column label; camera may be meant (--label)"


def test_features_may_lie_in_a_file_beside_the_data(tmp_path):
    pictures(2).save_to_disk(tmp_path / "x")
    (path,) = (tmp_path / "x").glob("*.arrow")
    with pa.memory_map(str(path)) as file:
        rows = pa.ipc.open_stream(file).read_all().replace_schema_metadata(None)
        with pa.OSFile(str(tmp_path / "new"), "wb") as new, pa.ipc.new_stream(new, rows.schema) as writer:
            writer.write_table(rows)
    (tmp_path / "new").replace(path)
    assert find_hf(tmp_path).classes == ("a", "b")


def test_splits_are_words_in_names(tmp_path):
    for name in ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"):
        table((tmp_path / name).parent, Path(name).name, image=[png()], label=["x"])
    assert list(find_hf(tmp_path).splits) == ["train", "val"]
    assert list(find_hf(tmp_path, Request(splits=("val",))).splits) == ["val"]
    table(tmp_path / "other", "train.parquet", image=[png()], label=["x"])
    with pytest.raises(DatasetError, match=r"data and .*other both hold files of train; if they are two data sets"):
        find_hf(tmp_path)
    table(tmp_path / "data", "extra.parquet", image=[png()], label=["x"])
    with pytest.raises(DatasetError, match=r"extra\.parquet names no split"):
        find_hf(tmp_path)


def test_a_file_that_is_missing_among_those_of_its_split_is_refused_with_advice_that_works(tmp_path):
    for number in (0, 2):
        table(tmp_path, f"train-0000{number}-of-00003.parquet", image=[png(number)], label=["x"])
    table(tmp_path, "test-00001-of-00001.parquet", image=[png(3)], label=["x"])  # some count from 1
    advice = (
        r"1 of 3 files train\.\.\. are missing: number 1; fetch them, or, .* take -of-00003 out .*train-0000[02]\.parq"
    )
    with pytest.raises(DatasetError, match=advice):
        find_hf(tmp_path)
    for number in (0, 2):
        (tmp_path / f"train-0000{number}-of-00003.parquet").rename(tmp_path / f"train-0000{number}.parquet")
    listing = find_hf(tmp_path)
    assert {split: len(samples) for split, samples in listing.splits.items()} == {"train": 2, "test": 1}
    assert listing.notes[-1].startswith("warning: numbers are missing among the 2 files train-NUMBER.parquet: 1; if")


@pytest.mark.parametrize("second", ["train-00000-of-00001 (1).parquet", "train-00000-of-00001-c0ffee.parquet"])
def test_a_file_that_is_there_twice_is_refused_with_advice_that_works(tmp_path, second):
    for name in ("train-00000-of-00001.parquet", second):
        table(tmp_path, name, image=[png()], label=["x"])
    with pytest.raises(
        DatasetError, match=r"both number 00000: .*, rename the second to train-00000.*parquet$"
    ) as told:
        find_hf(tmp_path)
    first, renamed = sorted([second, "train-00000-of-00001.parquet"])[1], str(told.value).rpartition("second to ")[2]
    (tmp_path / first).rename(tmp_path / renamed)
    assert len(find_hf(tmp_path).splits["train"]) == 2


def test_a_split_of_another_name_is_taken_on_demand(tmp_path):
    DatasetDict(train=pictures(2), unsupervised=pictures(2)).save_to_disk(tmp_path)
    with pytest.raises(DatasetError, match=r"the split 'unsupervised' is no word for train.*--splits train"):
        find_hf(tmp_path)
    assert list(find_hf(tmp_path, Request(splits=("train",))).splits) == ["train"]
    assert list(find_hf(tmp_path, Request(splits=("train", "unsupervised"))).splits) == ["train", "unsupervised"]
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, unsupervised"):
        find_hf(tmp_path, Request(splits=("test",)))


def keyed(listing: Listing) -> dict[str, list[str]]:
    return {split: [each.key for each in samples] for split, samples in listing.splits.items()}


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("split", ["training", "dev", "test", "Train"]),
        ("Fold", pa.array(["train", "valid", "TEST", "train"]).dictionary_encode()),
    ],
)
def test_a_column_of_words_for_splits_divides_the_rows(tmp_path, name, cells):
    table(tmp_path, image=[png(0), png(1), png(2), png(3)], label=["a", "a", "a", "b"], **{name: cells})
    listing = find_hf(tmp_path)
    assert listed(listing) == {
        "train": [("train/a/000000", 0), ("train/b/000001", 1)],
        "val": [("val/a/000000", 0)],
        "test": [("test/a/000000", 0)],
    }
    assert [each.read() for each in listing.splits["train"]] == [png(0), png(3)]
    assert not listing.undivided
    assert f"splits from column '{name}'" in listing.notes
    assert keyed(find_hf(tmp_path, Request(("test",)))) == {"test": ["test/a/000000"]}
    with pytest.raises(DatasetError, match="has no split 'extra'; it has"):
        find_hf(tmp_path, Request(("extra",)))


def test_a_saved_column_of_flags_or_of_named_numbers_divides_the_rows(tmp_path):
    pictures(4, None, is_train=[True, True, False, False]).save_to_disk(tmp_path / "flags")
    expected = {
        "train": [("train/0/0.png", 0), ("train/1/1.png", 1)],
        "test": [("test/0/2.png", 0), ("test/1/3.png", 1)],
    }
    assert listed(find_hf(tmp_path / "flags", Request(image="image"))) == expected
    features = Features({**FEATURES, "set": ClassLabel(names=["test", "train"])})
    pictures(4, features, set=[1, 1, 0, 0]).save_to_disk(tmp_path / "named")
    assert keyed(find_hf(tmp_path / "named")) == {
        "train": ["train/a/0.png", "train/b/1.png"],
        "test": ["test/a/2.png", "test/b/3.png"],
    }


FLAGS = [("train,val,test", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]), ("is_val,is_test", [[0, 0], [1, 0], [0, 1]])]


@pytest.mark.parametrize(("columns", "cells"), FLAGS)
@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("form", ["parquet", "metadata"])
def test_flags_of_several_splits_are_read_together(tmp_path, columns, cells, is_asked, form):
    names = columns.split(",")
    if form == "parquet":
        flags = dict(zip(names, zip(*cells, strict=True), strict=True))
        table(tmp_path, image=[png(0), png(1), png(2)], label=["a"] * 3, **flags)
    else:
        for number in range(3):
            (tmp_path / f"{number}.png").write_bytes(png(number))
        lines = (f"{number}.png,a,{','.join(map(str, row))}" for number, row in enumerate(cells))
        (tmp_path / "metadata.csv").write_text("\n".join((f"file_name,label,{columns}", *lines)))
    listing = find_hf(tmp_path, Request(split=names[-1] if is_asked else None))
    read = {split: [each.read() for each in samples] for split, samples in listing.splits.items()}
    assert read == {"train": [png(0)], "val": [png(1)], "test": [png(2)]}
    assert f"splits from columns {', '.join(map(repr, sorted(names)))}" in listing.notes


@pytest.mark.parametrize("odd", [[0, 0], [1, 1], [None, 1]])
@pytest.mark.parametrize("split", [None, "val"])
def test_rows_without_one_flag_of_several_are_refused(tmp_path, odd, split):
    cells = [[1, 0], [0, 1], odd]
    flags = dict(zip(("train", "val"), zip(*cells, strict=True), strict=True))
    table(tmp_path, image=[png(0), png(1), png(2)], label=["a"] * 3, **flags)
    with pytest.raises(DatasetError, match=r"none or several splits in columns 'train', 'val', such as .*; write 1 or"):
        find_hf(tmp_path, Request(split=split))


def test_a_column_with_other_values_is_told_and_read_on_demand(tmp_path):
    table(tmp_path, image=[png(), png(), png()], label=[0, 0, 0], fold=[1, 2, 3], split=["train", "test", "extra"])
    listing = find_hf(tmp_path)
    assert listing.undivided
    told = "is not read for splits, it has values that are no words for train, val or test"
    assert listing.notes[1:] == (
        f"column 'fold' {told}: '1', '2', '3'; to divide by it, write these words there",
        f"column 'split' {told}: 'extra'; to divide by it, say --split split --splits train,test",
    )
    divided = find_hf(tmp_path, Request(("train", "test"), split="split"))
    assert keyed(divided) == {"train": ["train/0/000000"], "test": ["test/0/000000"]}
    for split, message in (
        ("split", "'extra'; write these words, or leave the others out with --splits train,test"),
        ("fold", "no words for train, val or test: '1', '2', '3'; write these words$"),
        ("label", "--split label: expected words for train, val and test, in another column"),
        ("nope", "--split nope: expected words"),
    ):
        with pytest.raises(DatasetError, match=message):
            find_hf(tmp_path, Request(split=split))


def test_splits_of_files_come_before_a_column(tmp_path):
    cells = {"image": [png(), png()], "label": [0, 0], "split": ["train", "test"]}
    table(tmp_path, "train.parquet", **cells)
    listing = find_hf(tmp_path)
    assert keyed(listing) == {"train": ["train/0/000000", "train/0/000001"]}
    assert listing.notes[1] == (
        "warning: column 'split' is not read, the names of the files say the splits; of train it says test too; "
        "--split split takes the splits from it"
    )
    divided = find_hf(tmp_path, Request(("test",), split="split"))
    assert keyed(divided) == {"test": ["test/0/000000"]}
    table(tmp_path, "test.parquet", **cells)
    assert "of test it says train too" in find_hf(tmp_path).notes[2]
    with pytest.raises(DatasetError, match="files already, into test, train; leave out --split split"):
        find_hf(tmp_path, Request(split="split"))
    (tmp_path / "test.parquet").rename(tmp_path / "cache.parquet")
    with pytest.raises(DatasetError, match="files already, into no split, train; leave out --split split"):
        find_hf(tmp_path, Request(split="split"))


def test_the_command_keeps_the_rows_of_a_test_split_out_of_train(tmp_path):
    table(tmp_path / "hf", "train.parquet", image=[png(), png(1)], label=[0, 0], split=["train", "test"])
    command = (
        "build",
        "hf",
        "--root",
        tmp_path / "hf",
        "--out",
        tmp_path / "x.h5",
        "--size",
        16,
        "--segments",
        4,
        "--algorithm",
        "grid",
        "--jobs",
        1,
    )
    done = here(*command, "--split", "split")
    assert done.exit_code == 0, done.output
    assert Store(tmp_path / "x.h5").splits.keys() == {"train", "test"}
    (tmp_path / "hf" / "train.parquet").rename(tmp_path / "hf" / "x.parquet")
    done = here(*command, "--split", "train")
    assert done.exit_code == 2
    assert "the images are divided into train, test already" in done.stderr


def test_without_tables_there_is_no_column_of_splits(noisy):
    with pytest.raises(DatasetError, match="has no tables, and so no column 'split' for --split"):
        find_hf(noisy, Request(split="split"))


def test_two_columns_that_divide_in_two_ways_need_a_choice(tmp_path):
    cells = {"image": [png(), png()], "label": [0, 0], "split": ["train", "test"]}
    table(tmp_path / "same", **cells, is_test=[0, 1])
    assert set(find_hf(tmp_path / "same").splits) == {"train", "test"}
    table(tmp_path / "other", **cells, fold=["train", "val"])
    with pytest.raises(DatasetError, match="may be in column 'fold' or 'split'; choose with --split NAME"):
        find_hf(tmp_path / "other")
    assert set(find_hf(tmp_path / "other", Request(split="fold")).splits) == {"train", "val"}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_column_of_metadata_divides_the_rows(tmp_path, name):
    rows = [
        {"file_name": f"{number}.png", "label": "a", "split": split} for number, split in enumerate(["train", "test"])
    ]
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    if name.endswith("csv"):
        (tmp_path / name).write_text("\n".join(",".join(each) for each in (rows[0], *(row.values() for row in rows))))
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    expected = {"train": [("0.png", 0)], "test": [("1.png", 0)]}
    assert listed(find_hf(tmp_path)) == listed(find_hf(tmp_path, Request(split="split"))) == expected
    with pytest.raises(DatasetError, match="--split label: this column holds images or labels"):
        find_hf(tmp_path, Request(split="label"))
    with pytest.raises(DatasetError, match="--split nope: the columns are file_name, label, split"):
        find_hf(tmp_path, Request(split="nope"))


def test_numbers_with_a_point_as_pandas_writes_them_are_numbers(tmp_path):
    labels = ["10.0", "0.0", "2.0", "2", "-1.0"]
    for number in range(len(labels)):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    text = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{text}")
    listing = find_hf(tmp_path)
    assert listing.classes == ("0", "2", "10")
    assert [each.label for each in listing.splits["train"]] == [2, 0, 1, 1]
    assert listing.left_out == {"images without a label": (1, "train: number 5")}


@pytest.mark.parametrize("word", ["NA", "None", "null"])
def test_words_for_none_among_numbers_are_no_class(tmp_path, word):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n0.png,2\n1.png,10\n2.png,{word}\n3.png,\n")
    listing = find_hf(tmp_path)
    assert (listing.classes, listed(listing)) == (("2", "10"), {"train": [("0.png", 0), ("1.png", 1)]})
    assert listing.left_out == {"images without a label": (2, "train: number 3")}


def test_a_test_split_without_labels_is_left_out_with_a_warning(tmp_path):
    DatasetDict(train=pictures(2), test=pictures(3, label=[-1, -1, -1])).save_to_disk(tmp_path)
    listing = find_hf(tmp_path)
    assert list(listing.splits) == ["train"]
    assert listing.notes[-1] == "warning: test is left out: none of its 3 images has a label"
    assert listing.left_out == {"images without a label": (3, "test: number 1")}
    with pytest.raises(DatasetError, match="test: none of its 3 images has a label"):
        find_hf(tmp_path, Request(splits=("test",)))


def test_classes_of_texts_are_those_of_train(tmp_path):
    table(tmp_path, "train.parquet", image=[png()] * 2, label=["b", "a"])
    table(tmp_path, "test.parquet", image=[png()], label=["b"])
    listing = find_hf(tmp_path, Request(splits=("test",)))
    assert listing.classes == ("a", "b")
    assert listed(listing) == {"test": [("test/b/000000", 1)]}
    table(tmp_path, "test.parquet", image=[png()], label=["c"])
    with pytest.raises(DatasetError, match="test has labels without a class: c; the 2 classes are a, b"):
        find_hf(tmp_path)


def test_equal_names_in_a_class_get_a_number(tmp_path):
    table(
        tmp_path,
        image=[{"bytes": png(), "path": path} for path in ("1.png", "1.png", "1.png", "1-2.png", None, "c/1.png")],
        label=[0, 0, 1, 0, 0, 0],
    )
    listing = find_hf(tmp_path)
    keys = ["0/1.png", "0/1-2.png", "1/1.png", "0/1-2-2.png", "0/000004", "c/1.png"]
    assert [each.key for each in listing.splits["train"]] == keys
    assert "train: 2 images have the name of another; -2, -3, ... was added to their keys" in listing.notes


def test_a_file_in_two_rows_is_refused_by_row(tmp_path):
    for name in "012":
        (tmp_path / f"{name}.png").write_bytes(png())
    rows = "file_name,label,split\n0.png,a,train\n1.png,a,train\n"
    (tmp_path / "metadata.csv").write_text(f"{rows}./0.png,a,test\n2.png,a,test\n")  # a leak
    with pytest.raises(DatasetError, match=r"0\.png in row 1 of metadata\.csv \(train\) and row 3 of .* \(test\)"):
        find_hf(tmp_path)
    assert listed(find_hf(tmp_path, Request(splits=("test",)))) == {"test": [("0.png", 0), ("2.png", 0)]}
    (tmp_path / "metadata.csv").write_text(f"{rows}1.png,b,train\n")  # two labels
    with pytest.raises(DatasetError, match=r"1\.png in row 2 of metadata\.csv .* and row 3 of .*; keep one row for"):
        find_hf(tmp_path)
    (tmp_path / "metadata.csv").write_text(rows)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "1.png", "label": "a", "split": "train"}')
    with pytest.raises(DatasetError, match=r"row 2 of metadata\.csv .* row 1 of metadata\.jsonl .*, move all but one"):
        find_hf(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    assert listed(find_hf(tmp_path)) == {"train": [("1.png", 0)]}


def test_a_file_in_two_tables_of_paths_is_refused(tmp_path):
    (tmp_path / "0.png").write_bytes(png())
    for split in ("train", "test"):
        table(tmp_path, f"{split}.parquet", image=["0.png"], label=["a"])
    with pytest.raises(DatasetError, match=r"0\.png in row 0 of train\.parquet .* and row 0 of test\.parquet"):
        find_hf(tmp_path)


BOXED = {
    "struct": Features(
        {**FEATURES, "objects": {"bbox": List(List(Value("float32"), length=4)), "category": List(Value("string"))}}
    ),
    "list": Features(
        {**FEATURES, "objects": List({"bbox": List(Value("float32"), length=4), "category": Value("string")})}
    ),
}


@pytest.mark.parametrize("form", BOXED)
@pytest.mark.parametrize("parquet", [False, True])
def test_boxes_of_objects_are_kept(tmp_path, form, parquet):
    boxes = [[[3, 2, 1.5, 2], [0, 0, 5, 6]], []]
    objects = [
        {"bbox": each, "category": ["bird"] * len(each)}
        if form == "struct"
        else [{"bbox": box, "category": "bird"} for box in each]
        for each in boxes
    ]
    whole = pictures(2, BOXED[form], objects=objects)
    whole.to_parquet(tmp_path / "x.parquet") if parquet else whole.save_to_disk(tmp_path)
    listing = find_hf(tmp_path)
    assert [each.boxes for each in listing.splits["train"]] == [((3, 2, 4.5, 4), (0, 0, 5, 6)), ()]
    assert listing.notes[-1] == "boxes: 2 of 'objects', as x, y, width, height"


@pytest.mark.parametrize(
    ("boxes", "expected", "note"),
    [
        ([[1, 1, 4, 5]], (), "may be x, y, width, height or x0, y0, x1, y1"),
        ([[2, 2, 5, 6]], ((2, 2, 5, 6),), "as x0, y0, x1, y1"),  # wider than the image, as width and height
        ([[2, 1, 1, 5]], ((2, 1, 3, 6),), "as x, y, width, height"),
        ([[0.1, 0.1, 0.5, 0.5]], (), "may be fractions"),
        ([[0, 0, 50, 60]], (), "are neither"),
        ([[3, 3, -1, 1]], (), "are neither"),
        ([[1, 2, 3]], (), "does not hold four numbers"),
        ([[1, 2, 3, float("nan")]], (), "does not hold four numbers"),
    ],
)
def test_boxes_are_read_as_nothing_contradicts(tmp_path, boxes, expected, note):
    table(tmp_path, image=[png()], label=[0], bbox=[boxes], width=[5], height=[6])
    listing = find_hf(tmp_path)
    assert listing.splits["train"][0].boxes == expected
    assert note in listing.notes[1]


@pytest.mark.parametrize("boxes", [{"objects": {"bbox": [[3, 2, 1, 2]], "categories": [0]}}, {"bbox": [[3, 2, 1, 2]]}])
def test_boxes_in_metadata_are_kept(boxes, tmp_path):
    (tmp_path / "0.png").write_bytes(png())
    line = {"file_name": "0.png", "label": "x", **boxes}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
    (sample,) = find_hf(tmp_path).splits["train"]
    assert sample.boxes == ((3, 2, 4, 4),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "file_name,text\n0.png,a bird\n", "no column of labels.*--label, or, if the folders are the"),
        ("metadata.csv", "id,label\n0,a\n", "no column file_name; choose one with --image; it has id, label"),
        ("metadata.csv", "file_name,label\n../x.png,a\n", "lies outside of"),
        ("metadata.csv", "file_name,label\n,a\n", "row 1: expected a path in 'file_name', got ''"),
        ("metadata.csv", "file_name,label\n0.png\n", "none of its 1 images has a label"),
        ("metadata.csv", 'file_name,label\n"0.png,a\n', "cannot be read"),
        ("metadata.csv", "\xff", "no column file_name"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": [1]}', r"row 1: expected a label in 'label', got '\[1\]'"),
        ("metadata.jsonl", "[1]", r"expected lines of columns by name, got '\[1\]'"),
        ("metadata.jsonl", "{", "cannot be read: it is not JSON"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": 0}', r"1 of 1 images are missing, the first is .*1\.png"),
    ],
)
def test_tables_of_metadata_that_cannot_be_used_are_refused(tmp_path, name, text, message):
    (tmp_path / "0.png").write_bytes(png())
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        find_hf(tmp_path)


def tables_of_metadata(root: Path, **texts: str) -> None:
    """A picture 0.png in each folder, and its table."""
    for folder, text in texts.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "0.png").write_bytes(png())
        (root / folder / "metadata.csv").write_text(text)


def test_a_table_of_metadata_without_a_column_of_labels_is_of_images_without(tmp_path):
    tables_of_metadata(tmp_path, train="file_name,species\n0.png,a\n", test="file_name\n0.png\n")
    asked = Request(splits=("train",), label="species")
    assert listed(find_hf(tmp_path, asked)) == {"train": [("train/0.png", 0)]}
    assert "images: file_name; no labels, of test/metadata.csv" in find_hf(tmp_path, asked).notes
    listing = find_hf(tmp_path, Request(label="species"))
    assert listed(listing) == {"train": [("train/0.png", 0)]}
    assert "warning: test is left out: none of its 1 images has a label" in listing.notes
    with pytest.raises(DatasetError, match=r"test/metadata.csv has no column of labels such as label"):
        find_hf(tmp_path)
    with pytest.raises(DatasetError, match=r"test/metadata.csv: --label breed: the columns are file_name$"):
        find_hf(tmp_path, Request(label="breed"))


def test_words_in_folders_of_metadata_divide_the_rows_if_all_have_one(tmp_path):
    text = "file_name,label\n0.png,a\n"
    tables_of_metadata(tmp_path, trainset=text, test_images=text)
    listing = find_hf(tmp_path)
    assert listed(listing) == {"train": [("trainset/0.png", 0)], "test": [("test_images/0.png", 0)]}
    said = "splits from words in the names of folders: test has test_images/0.png, train has trainset/0.png"
    assert said in listing.notes
    tables_of_metadata(tmp_path, cats=text)
    listing = find_hf(tmp_path)
    assert [key for key, _ in listed(listing)["train"]] == ["cats/0.png", "test_images/0.png", "trainset/0.png"]
    assert "but that of cats/0.png is not; if they are, rename them to train, val and test" in listing.notes[-1]


def test_a_table_of_metadata_in_parquet_is_read(tmp_path):
    (tmp_path / "0.png").write_bytes(png())
    table(tmp_path, "metadata.parquet", file_name=["0.png"], label=["x"])
    assert listed(find_hf(tmp_path)) == {"train": [("0.png", 0)]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [[[1, 2], [3, 4]]], "label": [0]}, r"no column of images: .*--image; it has image \(list<"),
        ({"image": [[png()]], "label": [0]}, r"no column of images: .*image \(list<"),
        ({"image": [png()], "label": [[0]]}, r"no column of labels.*label \(list<"),
        ({"image": [png()], "label": [0.5]}, "expected labels in 'label', got 0.5; choose a column with --label"),
        ({"image": [png()] * 0, "label": pa.array([], pa.int64())}, "no rows|no column of images"),
        ({"image": ["x" * 5000], "label": [0]}, "row 0 names a path of 5,000 characters"),
    ],
)
def test_columns_that_hold_no_images_or_labels_are_refused(tmp_path, columns, message):
    table(tmp_path, **columns)
    with pytest.raises(DatasetError, match=message):
        find_hf(tmp_path)


def test_labels_beyond_the_names_are_refused(tmp_path):
    rows = pictures(2).data.table.set_column(1, "label", pa.array([0, 7]))
    schema = rows.schema.with_metadata(pictures(2).data.table.schema.metadata)
    pq.write_table(rows.cast(schema), tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match="train has labels without a class: 7; the 2 classes are a, b"):
        find_hf(tmp_path)


def test_what_is_no_image_is_a_failed_image(tmp_path):
    table(
        tmp_path,
        image=[{"bytes": png(), "path": None}, {"bytes": None, "path": None}, {"bytes": b"no", "path": None}],
        label=[0, 0, 0],
    )
    samples = find_hf(tmp_path).splits["train"]
    with pytest.raises(ImageError, match=r"row 1 of x\.parquet holds no bytes of an image"):
        samples[1].read()
    assert samples[2].read() == b"no"


def test_a_table_that_changes_is_read_again(tmp_path):
    path = table(tmp_path, image=[png(0), png(1)], label=[0, 1])
    samples = find_hf(tmp_path).splits["train"]
    assert samples[1].read() == png(1)
    path.unlink()
    table(tmp_path, image=[png(5)], label=[0])
    assert samples[0].read() == png(5)
    with pytest.raises(ImageError, match="expected more than 1 rows, got 1"):
        samples[1].read()
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        samples[0].read()
    assert samples[0].size() == -1


def test_a_shared_value_is_in_memory_once(tmp_path):
    """1.5 kB that unpack to 50 GB if every row gets its own copy."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([b"x" * 10_000_000]))
    pq.write_table(
        pa.table({"image": values, "label": [0] * 5000}), tmp_path / "x.parquet", compression="zstd", store_schema=False
    )
    before = pa.default_memory_pool().max_memory()
    samples = find_hf(tmp_path).splits["train"]
    assert len(samples[40].read()) == 10_000_000
    assert pa.default_memory_pool().max_memory() < before + 100_000_000


def test_without_pyarrow_it_is_named(tmp_path, monkeypatch):
    table(tmp_path, image=[png()], label=[0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PackageError, match=r"needs pyarrow, which the extra \[hf\] brings"):
        find_hf(tmp_path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingDataError, match="there is no folder"):
        find_hf(tmp_path / "x")
    with pytest.raises(MissingDataError, match="no images"):
        find_hf(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", b"{", r"state\.json: it is not JSON.*save the data set again"),
        ("state.json", b"[]", "expected fields by name, got list"),
        ("state.json", b"{}", "expected names of data files, got 'None'"),
        ("state.json", b'{"_data_files": [{"filename": "../x.arrow"}]}', r"state\.json: expected a path without"),
        ("state.json", b'{"_data_files": [{"filename": "no.arrow"}]}', r"no\.arrow"),
        ("state.json", b'{"_data_files": [{"filename": "x"}], "_indices_data_files": [1]}', "flatten_indices"),
        ("x/dataset_dict.json", b'{"splits": [1]}', "expected names of splits"),
        ("x/dataset_dict.json", b'{"splits": ["../y"]}', "expected a path without"),
        ("x/dataset_dict.json", b'{"splits": ["val", "validation"]}', "two splits are both val"),
        ("x.parquet", b"PAR1", r"x\.parquet cannot be read: .*; fetch or write it again"),
        ("x.parquet", b"", r"x\.parquet cannot be read"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer .git lfs pull fetches"),
        ("x.arrow", b"ARROW1\0\0" + b"\xff" * 100, r"x\.arrow cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DatasetError, OSError), match=message):
        find_hf(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_any_damage_gives_a_listing_or_a_clear_error(tmp_path, kind):
    whole = pictures(4)
    if kind == "parquet":
        path = tmp_path / "x.parquet"
        whole.to_parquet(path, batch_size=2)
    else:
        whole.save_to_disk(tmp_path)
        (path,) = tmp_path.glob("*.arrow")
    data, random, told = path.read_bytes(), np.random.default_rng(0), []
    for number in range(150):
        changed = bytearray(data)
        for place in random.integers(0, len(data), 1 + number % 4):
            changed[place] = random.integers(256)
        path.unlink()  # a mapped file must not change
        path.write_bytes(changed[: random.integers(len(data))] if number % 5 == 0 else changed)
        try:
            for sample in find_hf(tmp_path).splits["train"]:
                sample.read()
        except (DatasetError, ImageError) as error:
            told.append(str(error))
    assert len(told) > 30
    assert all(len(text) < 1000 for text in told)
