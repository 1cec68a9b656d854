"""What a store holds equals what Pillow and scikit-image give, read through ``Store`` and through plain h5py."""

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage.segmentation import slic

from preprocess.store import Store
from preprocess.store.content import sources_key
from preprocess.superpixels import Scale
from tests.preprocess.conftest import SMALL, build_here, open_plain, shard_files

CLASSES = ("daisy", "iris", "tulip")
TAKEN = {"train": 12, "test": 6}


def column(store: Store, split: str, name: str, dataset: str) -> np.ndarray:
    """Read one dataset of all shards of a column, with h5py alone."""
    parts = []
    for path in shard_files(store, split, name):
        with open_plain(path) as file:
            parts.append(file[dataset][()])
    return np.concatenate(parts)


def maps_of(images: np.ndarray, count: int) -> np.ndarray:
    return np.stack([slic(image, n_segments=count, compactness=10, start_label=0) for image in images])


@pytest.fixture(scope="module")
def store(flowers_store: Path) -> Store:
    return Store(flowers_store)


@pytest.fixture(scope="module")
def photographs(flowers: Path) -> dict[str, list[Path]]:
    """The files of the store, in the order of class and name."""
    return {
        split: [path for name in CLASSES for path in sorted((flowers / split / name).iterdir())[:count]]
        for split, count in TAKEN.items()
    }


@pytest.mark.parametrize("split", TAKEN)
def test_images_equal_pillows_squash_of_the_photographs(store, photographs, split):
    expected = []
    for path in photographs[split]:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        expected.append(np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(column(store, split, "images", "images"), expected)
    np.testing.assert_array_equal(store.images(split, range(len(expected))), expected)


@pytest.mark.parametrize("count", [12, 30])
@pytest.mark.parametrize("split", TAKEN)
def test_maps_equal_scikit_images_on_the_stored_pixels(store, split, count):
    expected = maps_of(column(store, split, "images", "images"), count)
    np.testing.assert_array_equal(column(store, split, f"slic-c10-{count}", "maps"), expected)
    np.testing.assert_array_equal(store.maps(split, count, range(len(expected))), expected)


@pytest.mark.parametrize("split", TAKEN)
def test_labels_and_keys_follow_the_photographs_across_shards(store, photographs, split):
    labels = [CLASSES.index(path.parent.name) for path in photographs[split]]
    keys = [f"{split}/{path.parent.name}/{path.name}" for path in photographs[split]]
    assert len(shard_files(store, split, "images")) > 1
    assert store.classes == CLASSES
    assert store.labels(split).tolist() == labels
    assert store.keys(split) == keys
    assert column(store, split, "images", "labels").tolist() == labels
    assert [key.decode() for key in column(store, split, "images", "keys")] == keys


def test_maps_of_a_photograph_at_full_size_equal_scikit_images(flowers, tmp_path):
    photograph = min((flowers / "train" / "iris").iterdir())
    folder = tmp_path / "raw" / "train" / "iris"
    folder.mkdir(parents=True)
    (folder / photograph.name).write_bytes(photograph.read_bytes())
    scales = (Scale(30, 0.5), Scale(40, 0.5))
    store = build_here(tmp_path / "raw", tmp_path / "one.h5", replace(SMALL, scales=scales, size=256))
    images = column(store, "train", "images", "images")
    assert images.shape == (1, 256, 256, 3)
    for count in (30, 40):
        np.testing.assert_array_equal(column(store, "train", f"slic-c10-{count}", "maps"), maps_of(images, count))


def test_jpeg_maps_belong_to_the_decoded_pixels(noisy, small_store, tmp_path):
    store = build_here(noisy, tmp_path / "coded.h5", replace(SMALL, codec="jpeg", quality=20))
    raw = small_store.images("train", range(10))
    decoded = []
    for path in shard_files(store, "train", "images"):
        with open_plain(path) as file:
            codes, offsets = file["codes"][()].tobytes(), file["offsets"][()]
        decoded += [Image.open(io.BytesIO(codes[a:b])) for a, b in pairwise(offsets)]
    assert {image.format for image in decoded} == {"JPEG"}
    decoded = np.stack([np.asarray(image) for image in decoded])
    np.testing.assert_array_equal(store.images("train", range(10)), decoded)
    for count in (4, 9):
        expected = maps_of(decoded, count)
        np.testing.assert_array_equal(column(store, "train", f"slic-c10-{count}", "maps"), expected)
        assert not np.array_equal(expected, maps_of(raw, count))


# Seeds lie 16, 4 and 3 pixels apart; SLIC merges pieces under half of a cell, so at most 8, 128 and 256 ids are left.
@pytest.mark.parametrize(("count", "sentinel"), [(4, 255), (64, 255), (150, 65535)])
def test_the_sentinel_is_the_highest_value_and_never_an_id(noisy, tmp_path, count, sentinel):
    store = build_here(noisy, tmp_path / "one.h5", replace(SMALL, scales=(Scale(count, 1.0),), size=32))
    assert store.sentinel == sentinel
    maps = [column(store, split, f"slic-c10-{count}", "maps") for split in ("train", "test")]
    assert {np.iinfo(part.dtype).max for part in maps} == {sentinel}
    assert max(part.max() for part in maps) < sentinel


def test_maps_of_few_segments_stay_narrow_beside_maps_of_many(noisy, tmp_path):
    store = build_here(noisy, tmp_path / "two.h5", replace(SMALL, scales=(Scale(4, 0.5), Scale(150, 0.5)), size=32))
    assert store.maps("test", 4, [0]).dtype == np.uint8
    assert store.maps("test", 150, [0]).dtype == np.uint16
    assert (store.map_dtype, store.sentinel) == (np.dtype("uint16"), 65535)


def test_the_region_count_is_one_above_the_largest_id_of_all_splits_and_scales(store):
    maps = [column(store, split, f"slic-c10-{count}", "maps") for split in TAKEN for count in (12, 30)]
    assert store.region_count == 1 + max(int(part.max()) for part in maps)


def test_names_labels_sources_and_order_are_all_part_of_a_content_key():
    keys, labels, sources = ["a.jpg", "b.jpg"], [0, 1], [b"one", b"two"]
    whole = sources_key(keys, labels, sources)
    assert sources_key(list(keys), list(labels), list(sources)) == whole
    others = {
        sources_key(["a.jpg", "c.jpg"], labels, sources),
        sources_key(keys, [0, 0], sources),
        sources_key(keys, labels, [b"one", b"odd"]),
        sources_key(keys[::-1], labels[::-1], sources[::-1]),
    }
    assert len(others - {whole}) == 4
