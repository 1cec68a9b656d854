"""Shards from somebody else, whose digests are right: reading refuses them, and ``verify`` names what is wrong."""

import io
import os
import re
import shutil
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from preprocess.errors import StoreError
from preprocess.inspect.verify import verify
from preprocess.store import Store
from preprocess.store.format import HEADER_BYTES, seal
from preprocess.store.pack import pack
from tests.preprocess.conftest import SMALL, build_here, copy_store, here
from tests.preprocess.store.foreign import edit_index, edit_shard, rewrite, write_images, write_maps

MAPS = "slic-c10-9"


def read_all(path: Path) -> None:
    """Read what training and export read."""
    store = Store(path)
    try:
        for split, layout in store.splits.items():
            rows = range(len(layout))
            store.labels(split), store.keys(split), store.boxes(split), store.images(split, rows)
            for column in layout.paths.keys() - {"images"}:
                store.column_maps(split, column, rows)
    finally:
        store.close()


def check_refused(store: Store, path: Path, says: str) -> None:
    """Reading, ``verify`` and a pack refuse the store; ``verify`` names the shard or the index."""
    with pytest.raises(StoreError, match=says):
        read_all(store.path)
    faults = verify(Store(store.path), 1, lambda done: None)
    assert [fault.damaged for fault in faults] == [False]
    assert faults[0].path in (store.path.name, path.relative_to(store.home).as_posix())
    assert any(re.search(says, line) for line in faults[0].lines), faults


def again(name: str, **options: object):
    """A change that stores a data set in another way."""

    def change(file: h5py.File) -> None:
        data = file[name][()]
        del file[name]
        file.create_dataset(name, **{"data": data} | options)

    return change


def link(name: str, target: object):
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return change


def external(name: str, shape: tuple, dtype: str):
    return again(name, data=None, shape=shape, dtype=dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 16, 16, 3), "uint8")
    layout[...] = h5py.VirtualSource("/etc/passwd", "images", (4, 16, 16, 3))
    del file["images"]
    file.create_virtual_dataset("images", layout)


def committed(file: h5py.File) -> None:
    data = file["labels"][()]
    file["type"] = np.dtype("int32")
    kept = file["type"]
    del file["labels"]
    file.create_dataset("labels", data=data, dtype=kept)
    del file["type"]


def bomb(file: h5py.File) -> None:
    file["maps"].id.write_direct_chunk((1, 0, 0), zlib.compress(bytes(1 << 26), 1))


def padded(file: h5py.File) -> None:
    """A sound map, and 32 MB behind it in its chunk."""
    packed = zlib.compress(file["maps"][1].tobytes()) + bytes(1 << 25)
    file["maps"].id.write_direct_chunk((1, 0, 0), packed)


def huge(name: str, **options: object):
    return again(name, data=None, shape=(10**12,), dtype="int32", **options)


OBJECTS = {
    "external images": ("images", external("images", (4, 16, 16, 3), "uint8"), "images takes its data from another"),
    "external labels": ("images", external("labels", (4,), "int32"), "labels takes its data from another file"),
    "external sources": ("images", external("sources", (4, 32), "uint8"), "sources takes its data from another file"),
    "external maps": (MAPS, external("maps", (4, 16, 16), "uint8"), "maps takes its data from another file"),
    "virtual images": ("images", virtual, "images takes its data from another file"),
    "an external link": ("images", link("images", h5py.ExternalLink("/x.h5", "images")), "'images' is a soft or ext"),
    "a soft link": (MAPS, link("checksums", h5py.SoftLink("/regions")), "'checksums' is a soft or external link"),
    "a circle": (MAPS, lambda file: file.__setitem__("more", file["/"]), "expected the data sets .*, got .*more"),
    "a group for a data set": (MAPS, lambda file: [file.pop("regions"), file.create_group("regions")], "cannot be"),
    "no labels": ("images", lambda file: file.pop("labels"), "expected the data sets"),
    "images as maps": ("images", lambda file: file.move("images", "maps"), "expected the data sets"),
    "another filter": (MAPS, again("maps", chunks=(1, 16, 16), compression="lzf"), "expected gzip"),
    "a filter too many": (MAPS, again("maps", chunks=(1, 16, 16), compression="gzip", shuffle=True), "expected gzip"),
    "packed labels": ("images", again("labels", chunks=(4,), compression="gzip"), "expected no filter"),
    "chunks of four images": ("images", again("images", chunks=(4, 16, 16, 3)), r"expected chunks \(1, 16, 16, 3\)"),
    "chunks of four maps": (MAPS, again("maps", chunks=(4, 16, 16), compression="gzip"), "expected chunks"),
    "strings of any length": ("images", again("keys", data=list("abcd"), dtype=h5py.string_dtype()), "fixed length"),
    "references": ("images", again("keys", data=None, shape=(4,), dtype=h5py.ref_dtype), "plain numbers or strings"),
    "choices": ("images", again("labels", dtype=h5py.enum_dtype({"a": 0}, "int32")), "plain numbers or strings"),
    "fields": ("images", again("labels", data=np.zeros(4, [("a", "i4")])), "plain numbers or strings"),
    "a named type": ("images", committed, "plain numbers or strings"),
    "fractional labels": ("images", again("labels", dtype="float32"), "labels: expected dtype int32, got float32"),
    "wide maps": (MAPS, again("maps", dtype="uint16", chunks=(1, 16, 16), compression="gzip"), "expected dtype uint8"),
    "larger maps": (MAPS, again("maps", data=np.zeros((4, 99, 16), "u1"), chunks=(1, 99, 16), compression="gzip"),
        r"maps: expected shape \(4, 16, 16\), got \(4, 99, 16\)"),
    "a row less": (MAPS, again("checksums", data=np.zeros(3, "uint32")), r"checksums: expected shape \(4\), got"),
    "no space": ("images", again("labels", data=h5py.Empty("int32")), "labels: expected shape"),
    "endless checksums": (MAPS, huge("checksums"), "checksums: expected dtype|shape"),
    "endless boxes": ("images", lambda file: file.create_dataset("boxes", (4, 10**11, 4), "float32"),
        "boxes: the file does not hold the 6400000000000 bytes"),
    "images that were never written": ("images", again("images", data=None, shape=(4, 16, 16, 3), dtype="uint8",
        chunks=(1, 16, 16, 3)), "images: the file does not hold the 3072 bytes"),
    "a map that unpacks to 64 MB": (MAPS, bomb, "sample 1 of .* does not match its checksum"),
    "a map that is packed in 32 MB": (MAPS, padded, "sample 1 of .* does not match its checksum"),
    "no superpixel": (MAPS, again("regions", data=np.zeros(4, "uint32")), "regions: expected 1 to 255, got 0 to 0"),
    "more superpixels than ids": (MAPS, again("regions", data=np.full(4, 9, "uint32")), "expected 9 superpixels, got"),
    "failures that are none": ("images", again("failed", data=np.bytes_(b"[1]")), "failed"),
}  # fmt: skip


@pytest.mark.parametrize(("column", "change", "says"), OBJECTS.values(), ids=OBJECTS)
def test_odd_objects_in_a_shard_are_refused(own_store, column, change, says):
    path = edit_shard(own_store, column, change)
    tracemalloc.start()
    try:
        if "failed" not in says:  # read by builds alone
            with pytest.raises(StoreError, match=says):
                read_all(own_store.path)
        faults = verify(Store(own_store.path), 1, lambda done: None)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert [(fault.path, fault.damaged) for fault in faults] == [(path.relative_to(own_store.home).as_posix(), False)]
    assert re.search(says, "".join(faults[0].lines)), faults


def put(name: str, row: int, value: object):
    return lambda parts: parts[name].__setitem__(row, value)


IMAGES = {
    "the last class": (put("labels", 0, -1), "labels: expected numbers of classes, got -1"),
    "another label": (put("labels", 0, 1), None),
    "another source": (put("sources", 0, bytes(32)), None),
    "a key above": (put("keys", 1, "../../x"), "without empty parts, '.' and '..', got '../../x'"),
    "an absolute key": (put("keys", 1, "/tmp/x"), "expected a relative path, got '/tmp/x'"),
    "a key that clears the screen": (put("keys", 1, "a\x1b[2J"), "expected a path without control characters"),
    "an empty key": (put("keys", 1, ""), "without empty parts"),
    "a key twice": (
        lambda parts: put("keys", 1, parts["keys"][0])(parts),
        "expected different keys, got train/a/0.png",
    ),
    "endless boxes": (
        put("boxes", 0, np.float32([[0, 0, np.inf, 1]])),
        r"expected 0 <= x0 <= x1 <= 1 .*, got \[0.0, 0",
    ),
    "boxes from right to left": (put("boxes", 0, np.float32([[1, 0, 0, 1]])), "expected 0 <= x0 <= x1 <= 1"),
    "half a box": (put("boxes", 0, np.float32([[0, 0, np.nan, 1]])), "expected 0 <= x0 <= x1 <= 1"),
}


@pytest.mark.parametrize(("change", "says"), IMAGES.values(), ids=IMAGES)
def test_odd_images_are_refused(own_store, change, says):
    path = write_images(own_store, change)
    if says is not None:
        check_refused(own_store, path, says)
    else:  # sound, but not what the content key stands for
        (fault,) = verify(Store(own_store.path), 1, lambda done: None)
        assert (fault.path, fault.damaged) == ("small.h5", False)
        assert fault.lines[0].startswith("splits.train.sources: expected ")


def test_keys_of_letters_of_all_kinds_are_read(own_store):
    keys = ["b/ä ö/ü.png", "c/\u732b [1].png", "d/..x/.y", "e/'$(x)'"]
    write_images(own_store, lambda parts: parts.update(keys=keys))
    assert Store(own_store.path).keys("train")[:4] == keys


@pytest.mark.parametrize("ids", [200, 254, 255])
def test_ids_above_the_stated_count_never_leave_the_store(own_store, ids):
    path = write_maps(own_store, MAPS, lambda maps: maps.__setitem__((2, 3, 3), ids))
    check_refused(own_store, path, "regions: expected|sample 2 of .*: expected at most")


def encoded(width: int, height: int, form: str = "JPEG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height)).save(data, form)
    return data.getvalue()


CODES = {
    "larger": (encoded(17, 16), "expected 16x16 pixels, got 17x16"),
    "huge": (encoded(9000, 9000), "expected 16x16 pixels, got 9000x9000"),
    "of another format": (encoded(16, 16, "PNG"), "cannot be decoded"),
    "no image": (b"%!PS", "cannot be decoded"),
    "empty": (b"", "cannot be decoded"),
}


@pytest.fixture(scope="module")
def jpegs(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_here(noisy, tmp_path_factory.mktemp("jpeg") / "small.h5", replace(SMALL, codec="jpeg"))


@pytest.mark.parametrize(("code", "says"), CODES.values(), ids=CODES)
def test_encoded_images_are_compared_with_the_store_before_they_are_decoded(jpegs, tmp_path, code, says):
    store = copy_store(jpegs, tmp_path)
    check_refused(store, write_images(store, put("stored", 1, code)), says)


def black_maps(file: h5py.File) -> None:
    """One superpixel in each map, of 8x8 pixels."""
    count, dtype = len(file["regions"]), file["maps"].dtype
    for name in ("maps", "sizes"):
        del file[name]
    file.create_dataset("maps", data=np.zeros((count, 8, 8), dtype), chunks=(1, 8, 8), compression="gzip")
    file["sizes"] = np.full((count, 2), 8, np.int32)
    file["regions"][...], file["checksums"][...] = 1, zlib.crc32(bytes(64 * dtype.itemsize))


def test_maps_have_the_sizes_of_their_images(noisy, tmp_path):
    store = build_here(noisy, tmp_path / "small.h5", replace(SMALL, size=None, resize="none", codec="png"))
    path = edit_shard(store, MAPS, black_maps)
    check_refused(store, path, "sizes of .*: expected those of the images")
    done = here("report", store.path, "--out", tmp_path / "page.html")
    assert (done.exit_code, "expected the size of its image" in done.output) == (0, True), done.output


OFFSETS = {"falling": [0, 20, 10, 30], "negative": [-5, 1, 2, 3], "short": [0, 1, 2, 3], "beyond": [0, 1, 2, 10**12]}


@pytest.mark.parametrize("starts", OFFSETS.values(), ids=OFFSETS)
def test_offsets_rise_from_the_first_to_the_last_byte(jpegs, tmp_path, starts):
    store = copy_store(jpegs, tmp_path)
    path = edit_shard(store, "images", lambda file: file["offsets"].__setitem__(..., [*starts, starts[3]]))
    check_refused(store, path, "offsets: expected a rising series from 0 to")


COUNTS = {"largest_id": 200, "least_regions": 1, "regions": 7, "content_key": "0" * 16, "encoding_key": "0" * 16}


@pytest.mark.parametrize(("field", "value"), COUNTS.items())
def test_verify_compares_what_the_index_says_about_maps_with_the_maps(own_store, field, value):
    edit_index(own_store.path, lambda document: document["splits"]["train"]["columns"][MAPS].update({field: value}))
    (fault,) = verify(Store(own_store.path), 1, lambda done: None)
    assert (fault.path, fault.damaged) == ("small.h5", False)
    (line,) = fault.lines
    assert line.startswith(f"splits.train.columns.{MAPS}.{field}: expected ")


def test_the_command_says_that_what_was_written_so_cannot_be_repaired(own_store, noisy):
    write_images(own_store, put("labels", 0, -1))
    before = {path: path.read_bytes() for path in own_store.home.rglob("*.h5")}
    for options in ((), ("--repair", "--root", noisy)):
        done = here("verify", own_store.path, "--jobs", "1", *options)
        assert done.exit_code == 1
        assert (
            "is not sound, see above: its digests are right, so it was written so, and --repair cannot help"
            in done.stderr
        )
    assert {path: path.read_bytes() for path in own_store.home.rglob("*.h5")} == before


def test_a_pack_of_an_odd_store_is_refused_or_called_odd(own_store, tmp_path):
    write_maps(own_store, MAPS, lambda maps: maps.__setitem__((2, 3, 3), 200))
    pack(Store(own_store.path), tmp_path / "pack.h5", lambda done: None)
    with pytest.raises(StoreError, match=r"sample 2 of .*: expected at most"):
        read_all(tmp_path / "pack.h5")
    (fault,) = verify(Store(tmp_path / "pack.h5"), 1, lambda done: None)
    assert (fault.path, fault.damaged) == ("pack.h5", False)
    write_images(own_store, put("keys", 1, "../x"))
    with pytest.raises(StoreError, match="without empty parts"):
        pack(Store(own_store.path), tmp_path / "more.h5", lambda done: None)
    assert not (tmp_path / "more.h5").exists()


def test_a_chunk_behind_the_end_of_its_file_is_not_packed(own_store, tmp_path):
    path = own_store.home / own_store.record("train", MAPS, 0)["path"]
    with h5py.File(path, locking=False) as file:
        place = file["maps"].id.get_chunk_info(0).byte_offset - HEADER_BYTES
    data = path.read_bytes()[HEADER_BYTES:].replace(place.to_bytes(8, "little"), (place + 2**20).to_bytes(8, "little"))
    path.write_bytes(seal(data, "shard")[0] + data)
    edit_shard(own_store, MAPS, lambda file: None)
    with pytest.raises(StoreError, match="cannot be read"):
        pack(Store(own_store.path), tmp_path / "pack.h5", lambda done: None)


def test_boxes_that_padding_makes_too_many_are_refused(own_store, monkeypatch):
    boxes = np.zeros((2, 4), np.float32)
    path = write_images(own_store, put("boxes", 0, boxes))
    assert Store(own_store.path).boxes("train").shape == (10, 2, 4)
    monkeypatch.setattr("preprocess.store.reader._BOXES_AT_ONCE", 19)
    check_refused(own_store, path, "boxes of train .*: expected at most 19 with padding, got 10 images of 2 boxes")


def link_to(path: Path, target: Path) -> None:
    path.symlink_to(target)


PLACES = {
    "a shard elsewhere": (3, link_to, "is a link that leaves it"),
    "a column elsewhere": (2, link_to, "is a link that leaves it"),
    "a folder of shards elsewhere": (0, link_to, "is a link that leaves it"),
    "links in a circle": (3, lambda path, away: link_to(path, path), "ymlink loop|links"),
    "a FIFO": (3, lambda path, away: os.mkfifo(path), "expected a regular file, it is a FIFO"),
    "a folder": (3, lambda path, away: path.mkdir(), "expected a regular file, it is a folder"),
    "a link to a device": (3, lambda path, away: link_to(path, Path("/dev/zero")), "is a link that leaves it"),
}


@pytest.mark.parametrize(("depth", "make", "says"), PLACES.values(), ids=PLACES)
def test_shards_lie_below_the_index(small_store, tmp_path, depth, make, says):
    home = tmp_path / "home"
    home.mkdir()
    store = copy_store(small_store, home)
    path = home.joinpath(*Path(store.record("train", MAPS, 0)["path"]).parts[: depth + 1])
    path.rename(tmp_path / "away")
    make(path, tmp_path / "away")
    with pytest.raises(StoreError, match=says):
        read_all(store.path)
    done = here("verify", store.path, "--jobs", "1")
    assert done.exit_code == 1
    assert re.search(says, done.stderr)


@pytest.mark.parametrize("linked", ["folder", "index", "both"])
def test_a_store_may_be_reached_through_a_link(small_store, tmp_path, linked):
    disk = tmp_path / "disk"
    disk.mkdir()
    copy_store(small_store, disk)
    if linked == "folder":
        (tmp_path / "data").symlink_to(disk)
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data/small.h5").symlink_to(disk / "small.h5")
        if linked == "both":
            (tmp_path / "data/small.shards").symlink_to(disk / "small.shards")
    store = tmp_path / "data/small.h5"
    read_all(store)
    assert here("verify", store, "--jobs", "1").exit_code == 0


def test_repair_writes_into_the_stores_own_shards_alone(own_store, noisy, tmp_path):
    """An index that lists the shards of another store."""
    mine = tmp_path / "mine.h5"
    mine.write_bytes(own_store.path.read_bytes())
    shard = own_store.home / own_store.record("train", MAPS, 0)["path"]
    shard.write_bytes(b"")
    done = here("verify", mine, "--repair", "--jobs", "1")
    assert done.exit_code == 1
    assert "mine.h5 writes into mine.shards alone, but small.shards/train/" in done.stderr
    assert shard.read_bytes() == b""


def test_repair_follows_no_link_to_the_shards_of_another_store(own_store, tmp_path):
    mine, shards = tmp_path / "mine.h5", own_store.path.with_suffix(".shards")
    shutil.copy(own_store.path, mine)
    edit_index(mine, lambda document: _rename_shards(document, "small.shards", "mine.shards"))
    mine.with_suffix(".shards").mkdir()
    for split in own_store.splits:
        (mine.with_suffix(".shards") / split).symlink_to(shards / split)
    shard = own_store.home / own_store.record("train", MAPS, 0)["path"]
    shard.write_bytes(b"")
    done = here("verify", mine, "--repair", "--jobs", "1")
    assert done.exit_code == 1
    assert "a link leads it out of" in done.stderr
    assert shard.read_bytes() == b""


def _rename_shards(document: dict, before: str, after: str) -> None:
    for split in document["splits"].values():
        for column in split["columns"].values():
            for record in column["files"]:
                record["path"] = record["path"].replace(before, after)


def test_verify_compares_the_labels_in_the_index_with_those_in_the_shards(own_store):
    rewrite(own_store.path, "index", lambda file: file["labels/train"].write_direct(np.int32([0] * 4 + [1] * 6)))
    (fault,) = verify(Store(own_store.path), 1, lambda done: None)
    assert (fault.path, fault.damaged) == ("small.h5", False)
    assert fault.lines == ("labels.train: expected 0 for sample 4 by its shard, the index says 1",)


def test_labels_of_shards_are_read_where_the_index_has_none(own_store):
    path = write_images(own_store, put("labels", 3, 2))
    assert Store(own_store.path).labels("train").tolist() == [0] * 5 + [1] * 5  # those of the index
    rewrite(own_store.path, "index", lambda file: file.pop("labels"))
    check_refused(own_store, path, "expected labels below 2, the number of classes, got 2")
