"""``diff`` and ``export``."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from preprocess.store import Store
from tests.preprocess.conftest import QUICK, SMALL, build_command, build_here, here
from tests.preprocess.datasets import official


def _diff(left, right) -> tuple[int, str]:
    done = here("diff", left, right)
    return done.exit_code, done.output


def test_a_store_equals_itself_and_another_encoding_of_it(small_store, noisy, tmp_path, run):
    again = build_here(noisy, tmp_path / "again.h5", replace(SMALL, shard_size=3))
    done = run("-m", "preprocess", "diff", small_store.path, again.path)
    assert done.returncode == 0, done.stderr
    assert "hold the same content" in done.stdout


def test_a_store_that_grew_split_by_split_equals_one_that_was_built_at_once(noisy, tmp_path):
    """Its splits are in the order in which they came."""
    for name, asked in (("grown", ("test", "train")), ("fresh", ("train,test",))):
        for splits in asked:
            command = build_command(noisy, tmp_path / f"{name}.h5", *QUICK, "--splits", splits)
            assert here(*command[2:]).exit_code == 0
    assert list(Store(tmp_path / "grown.h5").splits) == ["test", "train"]
    assert _diff(tmp_path / "grown.h5", tmp_path / "fresh.h5")[0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"--segments": "4,16"}, ["slic-c10-4,9 4 (0.500), 9 (0.500) vs. slic-c10-4,16 4 (0.500), 16 (0.500)"]),
        ({"--size": "12"}, ["size: 16 vs. 12"]),
        ({"--algorithm": "grid"}, ["maps slic-c10-4, slic-c10-9 vs. grid-4, grid-9"]),
        ({"--splits": "test"}, ["splits: test, train vs. test"]),
        ({"--codec": "jpeg", "--quality": "30"}, ["train/images: 10 of 10 differ: train/a/", "and 5 more"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else next(iter(value)),
)
def test_what_differs_is_said_and_the_exit_code_is_one(small_store, noisy, tmp_path, options, says):
    flat = [text for pair in {"--size": "16", "--segments": "4,9", "--jobs": "1", **options}.items() for text in pair]
    assert here("build", "folder", "--root", noisy, "--out", tmp_path / "x.h5", *flat).exit_code == 0
    code, said = _diff(small_store.path, tmp_path / "x.h5")
    assert code == 1
    for text in says:
        assert text in said


def test_one_other_image_is_named(small_store, noisy, tmp_path):
    root = shutil.copytree(noisy, tmp_path / "raw")
    changed = sorted((root / "test" / "b").iterdir())[1]
    with Image.open(changed) as image:
        pixels = np.asarray(image.convert("RGB")).copy()
    pixels[:8] = 255 - pixels[:8]
    Image.fromarray(pixels).save(changed)
    other = build_here(root, tmp_path / "x.h5")
    code, said = _diff(small_store.path, other.path)
    assert code == 1
    assert f"test/images: 1 of 6 differ: test/b/{changed.name}" in said
    assert "train/" not in said
    changed.rename(changed.with_name("other.png"))
    moved = build_here(root, tmp_path / "y.h5")
    code, said = _diff(small_store.path, moved.path)
    assert code == 1
    assert f"test: only in the left store: test/b/{changed.name}" in said
    assert "test: only in the right store: test/b/other.png" in said


def test_export_writes_what_the_store_holds(small_store, tmp_path, run):
    folder = tmp_path / "plain"
    done = run("-m", "preprocess", "export", small_store.path, folder)
    assert done.returncode == 0, done.stderr
    assert "wrote 16 images and 32 maps" in done.stdout
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 16
    for split in ("train", "test"):
        keys, labels = small_store.keys(split), small_store.labels(split)
        rows = [row for row in table if row["split"] == split]
        assert [row["key"] for row in rows] == keys
        assert [int(row["label"]) for row in rows] == labels.tolist()
        assert [row["class"] for row in rows] == [small_store.classes[label] for label in labels]
        for index, key in enumerate(keys):
            with Image.open(folder / "images" / f"{key}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), small_store.images(split, [index])[0])
            for count in (4, 9):
                with Image.open(folder / f"slic-c10-{count}" / f"{key}.png") as image:
                    np.testing.assert_array_equal(np.asarray(image), small_store.maps(split, count, [index])[0])


def test_maps_of_many_ids_are_exported_with_16_bits(noisy, tmp_path):
    command = build_command(noisy, tmp_path / "x.h5", "--algorithm", "grid", "--segments", "256")
    assert here(*command[2:]).exit_code == 0
    assert here("export", tmp_path / "x.h5", tmp_path / "out").exit_code == 0
    path = next((tmp_path / "out" / "grid-256").rglob("*.png"))
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), np.arange(256).reshape(16, 16))


def test_export_leaves_a_folder_that_holds_something_alone(small_store, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = here("export", small_store.path, tmp_path)
    assert done.exit_code == 2
    assert "holds mine.txt, which is no part of an export of a store" in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def birds(tmp_path) -> Path:
    """CUB as published, with boxes."""
    official.make_cub(tmp_path / "CUB_200_2011")
    return tmp_path / "CUB_200_2011"


def build_birds(root: Path, out: Path) -> None:
    options = ("--size", 16, "--segments", 4, "--partial", "--jobs", 1, *QUICK)
    done = here("build", "cub", "--root", root, "--out", out, *options)
    assert done.exit_code == 0, done.output


def test_other_boxes_are_a_difference(birds, tmp_path):
    build_birds(birds, tmp_path / "a.h5")
    table = birds / "bounding_boxes.txt"
    first, *others = table.read_text().splitlines()
    table.write_text("\n".join([f"{first.split()[0]} 0.0 0.0 2.0 3.0", *others]) + "\n")
    build_birds(birds, tmp_path / "b.h5")
    key = (birds / "images.txt").read_text().split()[1]
    split = "train" if (birds / "train_test_split.txt").read_text().split()[1] == "1" else "test"
    done = here("diff", tmp_path / "a.h5", tmp_path / "b.h5")
    assert (done.exit_code, done.output) == (1, f"{split}: boxes differ: {key}\n")


def test_boxes_are_exported_as_fractions(birds, tmp_path):
    build_birds(birds, tmp_path / "a.h5")
    done = here("export", tmp_path / "a.h5", tmp_path / "plain")
    assert done.exit_code == 0, done.output
    with (tmp_path / "plain" / "boxes.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    key = (birds / "images.txt").read_text().split()[1]
    x, y, width, height = map(float, (birds / "bounding_boxes.txt").read_text().splitlines()[0].split()[1:])
    with Image.open(birds / "images" / key) as image:
        expected = (x / image.width, y / image.height, (x + width) / image.width, (y + height) / image.height)
    assert [float(rows[key][edge]) for edge in ("x0", "y0", "x1", "y1")] == pytest.approx(expected, abs=1e-6)
    assert len(rows) == len((birds / "images.txt").read_text().splitlines())


def test_a_store_without_boxes_exports_no_table_of_them(small_store, tmp_path):
    assert here("export", small_store.path, tmp_path / "plain").exit_code == 0
    assert not (tmp_path / "plain" / "boxes.csv").exists()


READERS = {"export": ("plain",), "duplicates": ("--exact",), "diff": ("small.h5",), "show": ("--out", "sheet.png")}


@pytest.mark.parametrize("command", READERS)
def test_large_images_are_not_held_together(own_store, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("preprocess.store.reader._PIXELS_AT_ONCE", 2 * 16 * 16)
    batches, each = [], Store._each

    def watched(store: Store, split: str, column: str, indices: object, read: object) -> object:
        batches.append(len(indices))
        return each(store, split, column, indices, read)

    monkeypatch.setattr(Store, "_each", watched)
    done = here(command, "small.h5", *READERS[command])
    assert done.exit_code == 0, done.output
    assert max(batches) == (1 if command == "show" else 2)


def test_too_little_memory_is_a_message(own_store, monkeypatch, tmp_path):
    monkeypatch.setattr(Store, "images", Mock(side_effect=MemoryError))
    done = here("export", own_store.path, tmp_path / "plain")
    assert (done.exit_code, "there is not enough memory" in done.output) == (1, True), done.output
    assert not (tmp_path / "plain").exists()
