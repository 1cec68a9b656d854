"""An index from somebody else, whose digest is right: a message names the file, the field, and what is wrong."""

import os
import shutil
import socket
from pathlib import Path

import h5py
import numpy as np
import pytest

from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.store.pack import pack
from tests.preprocess.conftest import here
from tests.preprocess.store.foreign import edit_index, put_document, rewrite

HUGE = 10**5000 // 7


def train(document: dict) -> dict:
    return document["splits"]["train"]


def column(document: dict, name: str = "slic-c10-9") -> dict:
    return train(document)["columns"][name]


def put(value: object, *fields: str | int):
    """A change that puts a value into a field of the document."""

    def change(document: dict) -> None:
        for field in fields[:-1]:
            document = document[field]
        document[fields[-1]] = value

    return change


def put_path(path: str):
    return put(path, "splits", "train", "columns", "images", "files", 0, "path")


def rename_split(name: str):
    return lambda document: document["splits"].update({name: document["splits"].pop("train")})


def rename_column(name: str):
    return lambda document: train(document)["columns"].update({name: train(document)["columns"].pop("slic-c10-9")})


def put_scales(*scales: tuple[int, object]):
    listed = [{"segments": count, "weight": weight, "column": f"slic-c10-{count}"} for count, weight in scales]
    return put(listed, "superpixels", 0, "scales")


IMAGES, MAPS = ("splits", "train", "columns", "images"), ("splits", "train", "columns", "slic-c10-9")
CHANGES = {
    "no document": (lambda document: document.clear(), "name"),
    "a field more": (put(1, "hook"), "hook"),
    "absolute name": (put("/tmp/x", "name"), "name.*relative"),
    "name above": (put("../x", "name"), "name.*'..'"),
    "name of folders": (put("a/b", "name"), "name.*without '/'"),
    "name with controls": (put("a\x1b[2J", "name"), "name.*control"),
    "name that is no text": (put("\ud800", "name"), "name|JSON"),
    "unhashable": (put([[]], "name"), "name"),
    "data set above": (put("../../x", "dataset"), "dataset"),
    "split above": (rename_split("../x"), "splits"),
    "absolute split": (rename_split("/tmp"), "splits"),
    "column above": (rename_column("../../x"), "columns"),
    "column of another recipe": (rename_column("slic-c10-8"), "recipe: expected that of slic-c10-8"),
    "absolute path": (put_path("/etc/passwd"), "files: expected paths"),
    "path above": (put_path("small.shards/train/images/../../../x.h5"), "files: expected paths"),
    "path of a folder above": (put_path("...shards/../images/00000-0123456789abcdef.h5"), "files: expected paths"),
    "the index as a shard": (put_path("small.h5"), "files: expected paths"),
    "another split": (put_path("small.shards/test/images/00000-0123456789abcdef.h5"), "files: expected paths"),
    "a control in a path": (put_path("a\n.shards/train/images/00000-0123456789abcdef.h5"), "files"),
    "one shard twice": (lambda d: put_path(column(d, "images")["files"][1]["path"])(d), "different files"),
    "fewer files than rows": (lambda d: column(d)["files"].pop(), "files: expected 3, as many as rows, got 2"),
    "negative rows": (put(-1, "splits", "train", "rows", 0), "rows.0.*got -1"),
    "rows that are true": (put(True, "splits", "train", "rows", 0), "rows.0.*got True"),
    "fractional rows": (put(4.0, "splits", "train", "rows", 0), "rows.0.*got 4.0"),
    "endless rows": (put(10**12, "splits", "train", "rows", 0), "rows.0"),
    "more rows than a shard": (put(5, "splits", "train", "rows", 0), "rows: expected at most shard_size, 4, got 5"),
    "a million sides": (put(10**6, "images", "size"), "images.size.*got 1000000"),
    "no size": (put(None, "images", "size"), "images.size"),
    "a negative size": (put(-16, "images", "size"), "images.size.*got -16"),
    "another codec": (put("gif", "images", "codec"), "images.codec.*got 'gif'"),
    "raw images that vary": (put("short", "images", "resize"), "images.codec: expected jpeg or png"),
    "a quality of pixels": (put(95, "images", "quality"), "images.quality"),
    "a digest in capitals": (put("A" * 64, *MAPS, "files", 0, "sha256"), "sha256"),
    "a content key as a path": (put("../../../../x", *MAPS, "content_key"), "content_key"),
    "another dtype": (put("int64", *MAPS, "dtype"), "dtype.*got 'int64'"),
    "the sentinel as an id": (put(255, *MAPS, "largest_id"), "largest_id: expected below the sentinel of uint8, 255"),
    "a negative id": (put(-2, *MAPS, "largest_id"), "largest_id.*got -2"),
    "maps without a recipe": (lambda document: column(document).pop("recipe"), "expected the fields"),
    "images with a recipe": (put({}, *IMAGES, "recipe"), "recipe"),
    "no images": (lambda document: train(document)["columns"].pop("images"), "columns: expected images"),
    "a negative weight": (put_scales((4, -0.5), (9, 1.5)), "weight"),
    "no weight at all": (put_scales((4, 0), (9, 0.0)), "expected a weight above 0"),
    "a count twice": (put_scales((4, 0.5), (4, 0.5)), "expected different segments"),
    "maps that are nowhere": (put_scales((5, 1.0)), "column slic-c10-5 in a split"),
    "images as maps": (put("images", "superpixels", 0, "scales", 0, "column"), "expected the column slic-c10-4"),
    "no scales": (put([], "superpixels", 0, "scales"), "scales"),
    "no superpixels": (put([], "superpixels"), "superpixels"),
    "superpixels twice": (lambda d: d["superpixels"].append(d["superpixels"][0]), "superpixels: expected different"),
    "a class twice": (put(["a", "a"], "classes"), "classes: expected different names"),
    "a class without a name": (put(["a", ""], "classes"), "classes.1"),
    "a class that clears": (put(["a", "\x1b[2J"], "classes"), "classes.1.*control"),
    "no classes": (put([], "classes"), "classes"),
    "a failure without a reason": (put([{"key": "a", "source": ""}], "splits", "train", "failed"), "failed.0.reason"),
    "half a character": (
        put([{"key": "a", "reason": "\ud800", "source": ""}], "splits", "train", "failed"),
        "failed.0.reason.*utf-8",
    ),
    "a failure above": (
        put([{"key": "../a", "reason": "", "source": ""}], "splits", "train", "failed"), "failed.0.key"
    ),
    "an excluded key above": (put(["../x"], "splits", "train", "excluded"), "excluded.0"),
    "a rule of another form": (put("val=0.1;rm", "splits", "train", "divided"), "divided.*got 'val=0.1;rm'"),
    "a rule of two values": (put("val=0.1,val=0.2", "splits", "train", "divided"), "divided"),
    "a rule of more than all": (put("val=1.5", "splits", "train", "divided"), "divided"),
    "nothing left out": (put({".txt": {"count": 0, "example": "x"}}, "left_out"), "left_out..txt.count"),
    "left out by halves": (put({".txt": {"count": 0.5, "example": "x"}}, "left_out"), "left_out..txt.count"),
    "left out with a field more": (put({".txt": {"count": 1, "example": "x", "y": 1}}, "left_out"), "left_out..txt.y"),
    "a reason that clears": (put({"\x1b[2J": {"count": 1, "example": "x"}}, "left_out"), "left_out.*control"),
    "an example that clears": (put({".txt": {"count": 1, "example": "\x1b[2J"}}, "left_out"), "example.*control"),
}  # fmt: skip


@pytest.fixture
def index(small_store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copy(small_store.path, tmp_path))


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_an_odd_document_is_refused_with_its_field(index, change, says):
    edit_index(index, change)
    with pytest.raises(StoreError, match=says) as caught:
        Store(index)
    assert str(caught.value).startswith(f"{index} is not an index that this program writes: ")
    assert str(caught.value).endswith("do not use this store, get another copy or build it again")
    assert len(str(caught.value)) < 2000


TEXTS = {
    "not JSON": b"{",
    "a list": b"[]",
    "not a number": b'{"name": NaN}',
    "deep": b"[" * 100_000,
    "digits": b'{"name": ' + b"7" * 5000 + b"}",
    "not UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_document_that_is_no_document_is_refused(index, text):
    rewrite(index, "index", lambda file: put_document(file, text))
    with pytest.raises(StoreError, match="is not an index that this program writes"):
        Store(index)


def places(values: object, dtype: str = "int32", split: str = "train"):
    return lambda file: file.create_dataset(f"places/{split}", data=np.asarray(values, dtype))


def labels(values: object, dtype: str = "int32", split: str = "train"):
    def change(file: h5py.File) -> None:
        file["labels"].pop("train")
        file.create_dataset(f"labels/{split}", data=np.asarray(values, dtype))

    return change


def external(file: h5py.File) -> None:
    del file["document"]
    file.create_dataset("document", (1,), "S100", external=[("/etc/passwd", 0, 100)])


def linked(link: object):
    def change(file: h5py.File) -> None:
        del file["document"]
        file["document"] = link

    return change


OBJECTS = {
    "a place in no shard": (places([[3, 0]]), r"places.train: expected shard and row of 3 shards, got \[3, 0\]"),
    "a place in no row": (places([[2, 2]]), r"got \[2, 2\]"),
    "a negative place": (places([[0, 0], [-1, 0]]), r"got \[-1, 0\]"),
    "a place twice": (places([[0, 1], [1, 1], [0, 1]]), "expected every place once"),
    "places of one number": (places([[0]]), r"train: expected shape \(any, 2\), got \(1, 1\)"),
    "fractional places": (places([[0, 0]], "float64"), "train: expected dtype int32, got float64"),
    "places of no split": (places([[0, 0]], split="val"), "places: expected splits, got val"),
    "a label too few": (labels([0] * 9), r"train: expected shape \(10\), got \(9,\)"),
    "a label too high": (labels([0] * 9 + [2]), "labels.train: expected labels below 2, the number of classes, got 2"),
    "a negative label": (labels([-1] + [0] * 9), "labels.train: .* got -1"),
    "fractional labels": (labels([0] * 10, "float32"), "train: expected dtype int32, got float32"),
    "labels of no split": (labels([0] * 10, split="val"), "labels: expected splits, got val"),
    "external storage": (external, "document takes its data from another file"),
    "an external link": (linked(h5py.ExternalLink("other.h5", "document")), "'document' is a soft or external link"),
    "a soft link": (linked(h5py.SoftLink("/x")), "'document' is a soft or external link"),
    "one thing more": (lambda file: file.create_group("more"), "expected a document, got document, labels, more"),
    "a circle": (lambda file: file.__setitem__("places", file["/"]), "places"),
}


@pytest.mark.parametrize(("change", "says"), OBJECTS.values(), ids=OBJECTS)
def test_odd_objects_in_an_index_are_refused(index, change, says):
    rewrite(index, "index", change)
    with pytest.raises(StoreError, match=says):
        Store(index)


PACKED = {
    "an external link": (lambda pack: pack.__setitem__("a.shards", h5py.ExternalLink("x.h5", "/")), "is a soft or ext"),
    "a link instead of a split": (lambda pack: [pack["small.shards"].pop("test"), pack["small.shards"].__setitem__(
        "test", h5py.SoftLink("/small.shards/train"))], "'test' is a soft or external link"),
    "a circle": (lambda pack: pack["small.shards/train"].__setitem__("more", pack["/"]), "at most 3 entries"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), PACKED.values(), ids=PACKED)
def test_odd_objects_in_a_pack_are_refused(small_store, tmp_path, change, says):
    pack(small_store, tmp_path / "pack.h5", lambda done: None)
    rewrite(tmp_path / "pack.h5", "pack", change)
    with pytest.raises(StoreError, match=says):
        Store(tmp_path / "pack.h5")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, bind, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_at_once(small_store, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # a socket has a short name
    make(Path("x.h5"))
    with pytest.raises(StoreError, match="expected a regular file, it is a"):
        Store("x.h5")
    assert "expected a regular file" in here("verify", "x.h5").stderr
