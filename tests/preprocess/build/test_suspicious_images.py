"""Suspicious images are stored, counted and shown; a store without any is what it always was."""

import re
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build, run_tasks
from preprocess.datasets import DATASETS
from preprocess.errors import StoreError
from preprocess.inspect.verify import verify
from preprocess.store import Store
from preprocess.store.writer import ImageShard
from tests.preprocess.conftest import QUICK, SMALL, all_files, build_command, build_here, here, open_plain
from tests.preprocess.store.foreign import edit_index, edit_shard
from tests.preprocess.test_warned import odd_exif

SAID = "suspicious images are stored: 1 uses less than a quarter of its range of values (train/a/12bit.png), "


def find(root):
    return DATASETS["folder"].find(root)


@pytest.fixture
def odd(noisy, tmp_path):
    """Three suspicious training images in different shards of four, and two with odd EXIF data."""
    root = tmp_path / "raw"
    shutil.copytree(noisy, root)
    values = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(values).save(root / "train" / "a" / "12bit.png")
    for name in "yz":
        Image.new("RGB", (20, 20), "navy").save(root / "train" / "b" / f"{name}.png")
        (root / "train" / "b" / f"{name}.jpg").write_bytes(odd_exif(Image.open(root / "train" / "b" / "0.png")))
    return root


def suspicious(store, split="train"):
    return store.document["splits"][split].get("suspicious", {})


EXPECTED = {
    "range": {"count": 1, "examples": ["train/a/12bit.png"]},
    "constant": {"count": 2, "examples": ["train/b/y.png", "train/b/z.png"]},
}


def test_a_store_without_suspicious_images_holds_no_word_of_them(small_store):
    for split in small_store.splits:
        assert "suspicious" not in small_store.document["splits"][split]
        for path, _ in small_store.records():
            with open_plain(small_store.home / path) as file:
                assert "suspicious" not in file


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_they_are_stored_counted_and_said_once(odd, tmp_path, codec):
    command = build_command(odd, tmp_path / "x.h5", *QUICK, "--codec", codec)[2:]
    done = here(*command)
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert f"{SAID}2 are one colour (train/b/y.png, ...); look at them: python -m lgcoamix preprocess report" in told
    assert "2 images were decoded with a warning: Truncated File Read (train/b/y.jpg, ...)" in told
    assert "Truncated" not in done.stderr
    store = Store(tmp_path / "x.h5")
    assert suspicious(store) == EXPECTED
    assert suspicious(store, "test") == {}
    assert verify(store, 1, lambda done: None) == []
    assert "train: suspicious images: 1 uses" in here("inspect", tmp_path / "x.h5").stdout
    packed = tmp_path / "p.h5"
    assert here("pack", tmp_path / "x.h5", packed).exit_code == 0
    assert verify(Store(packed), 1, lambda done: None) == []
    assert "are stored" not in here(*command).stdout  # there is nothing to do


def test_they_survive_a_build_that_was_interrupted(odd, tmp_path):
    whole = build_here(odd, tmp_path / "whole" / "x.h5")
    plan = make_plan(tmp_path / "cut" / "x.h5", find(odd), SMALL)
    run_tasks(plan, 1, lambda done: None, "threading", None)  # and no index
    build(make_plan(tmp_path / "cut" / "x.h5", find(odd), SMALL), 1, False, lambda done: None)
    assert suspicious(whole) == suspicious(Store(tmp_path / "cut" / "x.h5")) == EXPECTED
    images = [{path: content for path, (content, _) in all_files(tmp_path / part).items()} for part in ("whole", "cut")]
    assert images[0] == images[1]


WARNED = "2 images were decoded with a warning: Truncated File Read (train/b/y.jpg, ...)"


def test_warnings_of_decoders_are_said_until_an_index_is_published(odd, tmp_path):
    """The second run keeps all shards of the first."""
    (odd / "train" / "a" / "bad.png").write_bytes(b"no picture")
    command = build_command(odd, tmp_path / "x.h5", *QUICK)[2:]
    for options, code in (((), 1), (("--skip-bad",), 0)):
        done = here(*command, *options)
        assert (done.exit_code, WARNED in " ".join(done.output.split())) == (code, True)
    assert "with a warning" not in here(*command, "--skip-bad", "--algorithm", "grid").output


def test_a_shard_of_an_earlier_version_that_kept_no_warnings_is_rebuilt(odd, tmp_path, monkeypatch):
    finish = ImageShard.finish
    with monkeypatch.context() as before:
        before.setattr(ImageShard, "finish", lambda self, failed, warned=(): finish(self, failed))
        store = build_here(odd, tmp_path / "x.h5")
    for shard in (tmp_path / "x.shards/train/images").iterdir():
        shard.write_bytes(shard.read_bytes()[:-1])
    assert here("verify", store.path, "--repair", "--root", odd, "--jobs", 1).exit_code == 0
    assert verify(Store(store.path), 1, lambda done: None) == []


@pytest.mark.parametrize("text", ["{", '[{"kind":"x","count":0,"example":"a"}]', '[{"kind":"x","count":1}]'])
def test_odd_warnings_in_a_shard_are_refused(own_store, text):
    edit_shard(own_store, "images", lambda file: file.create_dataset("warned", data=np.bytes_(text)))
    (fault,) = verify(Store(own_store.path), 1, lambda done: None)
    assert re.search("warnings of .* cannot be read", "\n".join(fault.lines))


def test_an_update_keeps_them_for_images_that_stay(odd, tmp_path):
    command = build_command(odd, tmp_path / "x.h5", *QUICK, "--update")[2:]
    assert here(*command).exit_code == 0
    (odd / "train" / "b" / "z.png").unlink()
    Image.new("RGB", (20, 20), "red").save(odd / "train" / "a" / "0.png")
    assert here(*command).exit_code == 0
    store = Store(tmp_path / "x.h5")
    constant = {"count": 2, "examples": ["train/a/0.png", "train/b/y.png"]}
    assert suspicious(store) == {"range": EXPECTED["range"], "constant": constant}
    assert verify(store, 1, lambda done: None) == []


def test_the_report_shows_them_first(odd, tmp_path):
    build_here(odd, tmp_path / "x.h5")
    assert here("report", tmp_path / "x.h5", "--out", tmp_path / "r.html", "--count", "1").exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert page.index('<section id="suspicious"') < page.index('<section id="failures"')
    part = page[page.index('<section id="suspicious"') : page.index('<section id="failures"')]
    assert part.count("<img ") == 2
    assert "train: 2 are one colour" in part
    assert all(f">{key}<" in part for entry in EXPECTED.values() for key in entry["examples"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda found: found["constant"].update(count=3),
            "suspicious.constant: expected the first 20 of at most 15 images",
        ),
        (lambda found: found["constant"].update(examples=["train/b/y.png", "../z"]), "suspicious.constant.examples.1"),
        (lambda found: found.update(odd=found["range"]), "suspicious.odd"),
        (lambda found: found.clear(), "suspicious"),
        (lambda found: found["range"].update(count=0, examples=[]), "suspicious.range.count"),
    ],
)
def test_an_odd_summary_is_refused(odd, tmp_path, change, says):
    build_here(odd, tmp_path / "x.h5")
    edit_index(tmp_path / "x.h5", lambda document: change(document["splits"]["train"]["suspicious"]))
    with pytest.raises(StoreError, match=says):
        Store(tmp_path / "x.h5")


def test_verify_counts_again(odd, tmp_path):
    store = build_here(odd, tmp_path / "x.h5")
    edit_index(
        store.path,
        lambda document: document["splits"]["train"]["suspicious"]["constant"].update(examples=["train/a/0.png"] * 2),
    )
    (fault,) = verify(Store(store.path), 1, lambda done: None)
    assert "splits.train.suspicious: expected" in fault.lines[0]


def put(values, sealed=False):
    def change(file):
        file["suspicious"] = values
        if sealed:
            columns = [file[name][()] for name in ("labels", "keys", "sources", "suspicious")]
            file["listing_checksum"][()] = zlib.crc32(b"".join(column.tobytes() for column in columns))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(np.array([4, 0, 0, 0], np.uint8)), "do not match their checksum"),
        (put(np.array([64, 0, 0, 0], np.uint8), sealed=True), "suspicious of .*: expected bits up to 63, got 64"),
        (put(np.zeros(4, np.uint8), sealed=True), "suspicious of .*: expected bits up to 63, got 0"),
        (put(np.zeros(4, np.int64)), "suspicious: expected dtype uint8"),
        (put(np.zeros(5, np.uint8)), r"suspicious: expected shape \(4\)"),
    ],
)
def test_odd_bits_in_a_shard_are_refused(own_store, change, says):
    edit_shard(own_store, "images", change)
    (fault,) = verify(Store(own_store.path), 1, lambda done: None)
    assert re.search(says, "\n".join(fault.lines))


def test_bits_that_the_index_does_not_count_are_found(own_store):
    edit_shard(own_store, "images", put(np.array([4, 0, 0, 0], np.uint8), sealed=True))
    (fault,) = verify(Store(own_store.path), 1, lambda done: None)
    assert "splits.train.suspicious: expected {'constant'" in fault.lines[0]
