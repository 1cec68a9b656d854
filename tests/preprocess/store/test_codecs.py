"""Codecs and sizes: what a store keeps of a file, against Pillow, scikit-image and plain h5py."""

import io
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageOps
from skimage.segmentation import slic

from lgcoamix.cli import main
from preprocess.store import Store
from tests.conftest import PROOF
from tests.preprocess.conftest import here, open_plain, shard_files

SIDE, COUNTS, QUALITY, SENTINEL = 16, (4, 9), 80, 65535
ORIENTATION = 0x0112
STORES = {
    "raw": ("--size", SIDE),  # the first and the JPEGs of varied sizes are what --codec auto gives
    "png": ("--codec", "png", "--size", SIDE),
    "jpeg": ("--codec", "jpeg", "--size", SIDE),
    "short-jpeg": ("--size", SIDE, "--resize", "short"),
    "none-jpeg": ("--resize", "none"),
}
if PROOF:
    STORES["short-png"] = ("--codec", "png", "--size", SIDE, "--resize", "short")
    STORES["none-png"] = ("--codec", "png", "--resize", "none")
VARIED = [name for name in STORES if "-" in name]
TRAIN = (
    *("--epochs", "1", "--device", "cpu", "--workers", "0", "--image-size", "32", "--batch-size", "4"),
    *("--backbone", "resnet10t", "--weights", "none", "--mixer", "lgcoamix"),
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng([seed, width, height])
    small = random.integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return Image.fromarray(small.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].copy())


def save(path: Path, image: Image.Image, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    # Settings that the build never takes, so that a file which it coded has other bytes.
    image.save(path, **({"exif": exif, "quality": 60} if path.suffix == ".jpg" else {"compress_level": 0}))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("codecs") / "raw"
    save(root / "train/a/exact.jpg", noise(SIDE, SIDE))
    save(root / "train/a/exact turned.jpg", noise(SIDE, SIDE, 1), orientation=6)
    save(root / "train/a/exact.png", noise(SIDE, SIDE, 2))
    save(root / "train/a/larger.jpg", noise(48, 36))
    save(root / "train/a/one.jpg", noise(1, 1))
    save(root / "train/b/half.png", noise(33, 32))  # 16.5 pixels wide at a short side of 16
    save(root / "train/b/long.jpg", noise(2000, 6))
    save(root / "train/b/long.png", noise(5, 1500))
    save(root / "train/b/odd.png", noise(31, 47))
    save(root / "train/b/tall fits.jpg", noise(40, SIDE, 3), orientation=8)
    save(root / "train/b/wide fits.jpg", noise(40, SIDE, 4))
    for name in "ab":
        for index in range(2):
            save(root / "test" / name / f"{index}.jpg", noise(30 + index, 22, 5))
    return root


def command(root: Path, out: Path, *options: object) -> tuple:
    small = ("--segments", "4,9", "--shard-size", "4", "--jobs", "1")
    return ("build", "folder", "--root", root, "--out", out, *small, *options)


@pytest.fixture(scope="module")
def builds(root, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Path of each store, and what its build said."""
    home, found = tmp_path_factory.mktemp("stores"), {}
    for name, options in STORES.items():
        quality = ("--quality", QUALITY) if "jpeg" in name else ()
        done = here(*command(root, home / f"{name}.h5", *options, *quality))
        assert done.exit_code == 0, done.stderr
        assert "--codec auto" not in done.stdout
        found[name] = home / f"{name}.h5", done.stderr
    return found


@pytest.fixture(scope="module")
def stores(builds) -> dict[str, Store]:
    return {name: Store(path) for name, (path, _) in builds.items()}


def files(root: Path, split: str = "train") -> list[Path]:
    return sorted(path for path in (root / split).rglob("*") if path.is_file())


def upright(file: object) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def stored_size(image: Image.Image, name: str) -> tuple[int, int]:
    """Width and height in one of the stores."""
    if name.startswith("none"):
        return image.size
    # cover keeps the aspect ratio and lets the short side fill the square
    return ImageOps.cover(image, (SIDE, SIDE)).size if name.startswith("short") else (SIDE, SIDE)


def stays(path: Path, name: str) -> bool:
    """Whether a file is to be stored as it is."""
    return name.endswith("jpeg") and path.suffix == ".jpg" and upright(path).size == stored_size(upright(path), name)


def expected_pixels(path: Path, name: str) -> np.ndarray:
    image = upright(path)
    if stays(path, name):
        return np.asarray(image)
    size = stored_size(image, name)
    image = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
    if name.endswith("jpeg"):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        image = Image.open(buffer)
    return np.asarray(image)


def codes_of(store: Store, split: str = "train") -> list[bytes]:
    """The coded files of a split, by h5py alone."""
    found = []
    for path in shard_files(store, split, "images"):
        with open_plain(path) as file:
            codes, offsets = file["codes"][()].tobytes(), file["offsets"][()]
        found += [codes[start:end] for start, end in pairwise(offsets)]
    return found


def raw_pixels(store: Store, split: str) -> np.ndarray:
    parts = []
    for path in shard_files(store, split, "images"):
        with open_plain(path) as file:
            parts.append(file["images"][()])
    return np.concatenate(parts)


def maps_of(store: Store, split: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each padded map with its (H, W), by h5py alone."""
    for path in shard_files(store, split, f"slic-c10-{count}"):
        with open_plain(path) as file:
            yield from zip(file["maps"][()], file["sizes"][()], strict=True)


@pytest.mark.parametrize("split", ["train", "test"])
def test_raw_and_png_hold_the_same_pixels(stores, root, split):
    raw = raw_pixels(stores["raw"], split)
    coded = [Image.open(io.BytesIO(code)) for code in codes_of(stores["png"], split)]
    assert {(image.format, image.mode) for image in coded} == {("PNG", "RGB")}
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in coded]), raw)
    np.testing.assert_array_equal(raw, [expected_pixels(path, "raw") for path in files(root, split)])


def test_diff_finds_raw_and_png_equal_and_jpeg_other(stores):
    same = here("diff", stores["raw"].path, stores["png"].path)
    assert same.exit_code == 0, same.stdout
    other = here("diff", stores["raw"].path, stores["jpeg"].path)
    assert other.exit_code == 1
    assert "train/images: " in other.stdout


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_read_as_pillow_decodes_them(stores, root, name, split):
    paths = files(root, split)
    images = stores[name].images(split, range(len(paths)))
    assert len(images) == len(paths)
    for path, image in zip(paths, images, strict=True):
        np.testing.assert_array_equal(image, expected_pixels(path, name), err_msg=path.name)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("jpeg", {"exact.jpg", "exact turned.jpg"}),
        ("short-jpeg", {"exact.jpg", "exact turned.jpg", "tall fits.jpg", "wide fits.jpg"}),
        (
            "none-jpeg",
            {"exact.jpg", "exact turned.jpg", "larger.jpg", "one.jpg", "long.jpg", "tall fits.jpg", "wide fits.jpg"},
        ),
        ("png", set()),
    ],
)
def test_only_a_jpeg_of_the_stored_size_is_kept_byte_for_byte(stores, root, name, kept):
    codes, paths = codes_of(stores[name]), files(root)
    assert {path.name for path, code in zip(paths, codes, strict=True) if path.read_bytes() == code} == kept
    assert {Image.open(io.BytesIO(code)).format for code in codes} == {name.rsplit("-")[-1].upper()}


def test_a_photograph_coded_anew_carries_no_orientation(stores, root):
    for name in stores.keys() - {"raw"}:
        for path, code in zip(files(root), codes_of(stores[name]), strict=True):
            if not stays(path, name):
                assert Image.open(io.BytesIO(code)).getexif().get(ORIENTATION, 1) == 1, (name, path.name)


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_maps_of_varied_sizes_equal_scikit_images_and_are_padded_with_the_sentinel(stores, root, name, split):
    images = [expected_pixels(path, name) for path in files(root, split)]
    read = {count: stores[name].maps(split, count, range(len(images))) for count in COUNTS}
    for count in COUNTS:
        padded = list(maps_of(stores[name], split, count))
        assert len(padded) == len(images)
        for image, (ids, size), found in zip(images, padded, read[count], strict=True):
            height, width = image.shape[:2]
            assert size.tolist() == [height, width]
            assert ids.dtype == np.uint16
            expected = slic(image, n_segments=count, compactness=10, start_label=0)
            np.testing.assert_array_equal(ids[:height, :width], expected)
            np.testing.assert_array_equal(found, expected)
            assert (ids[height:] == SENTINEL).all()
            assert (ids[:, width:] == SENTINEL).all()
    assert stores[name].sentinel == SENTINEL


@pytest.mark.parametrize("name", VARIED)
def test_sizes_of_varied_images_are_listed_beside_them(stores, root, name):
    sizes = []
    for path in shard_files(stores[name], "train", "images"):
        with open_plain(path) as file:
            sizes += file["sizes"][()].tolist()
    assert sizes == [[*stored_size(upright(path), name)[::-1]] for path in files(root)]
    if name.startswith("short"):
        assert {min(size) for size in sizes} == {SIDE}


@pytest.mark.parametrize("name", ["short-jpeg", "none-jpeg"])
def test_a_packed_store_of_varied_sizes_reads_the_same(stores, tmp_path, name):
    done = here("pack", stores[name].path, tmp_path / "one.h5")
    assert done.exit_code == 0, done.stderr
    packed, rows = Store(tmp_path / "one.h5"), range(11)
    for mine, theirs in zip(packed.images("train", rows), stores[name].images("train", rows), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(packed.maps("train", 9, rows), stores[name].maps("train", 9, rows), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def inspected(out: Path) -> dict:
    return json.loads(here("inspect", out, "--json").stdout)


@pytest.mark.parametrize("name", STORES)
def test_the_codec_that_auto_chooses_is_said_and_kept(builds, stores, name):
    codec = name.rsplit("-")[-1]
    assert stores[name].document["images"]["codec"] == codec
    told = [line for line in builds[name][1].splitlines() if line.startswith("--codec auto")]
    if "--codec" in STORES[name]:
        assert told == []
    else:
        assert len(told) == 1
        assert told[0].startswith(f"--codec auto: {codec}, because ")


def test_superpixels_added_later_take_the_codec_of_the_store(root, tmp_path):
    out = tmp_path / "x.h5"
    first = here(*command(root, out, *STORES["png"], "--splits", "test"))
    assert first.exit_code == 0, first.stderr
    (shard,) = shard_files(Store(out), "test", "images")
    before = shard.read_bytes()
    later = here(*command(root, out, "--size", SIDE, "--splits", "test", "--segments", "12"))
    assert later.exit_code == 0, later.stderr
    assert "--codec auto" not in later.stderr
    document = json.loads(here("inspect", out, "--json").stdout)
    assert document["images"]["codec"] == "png"
    assert [entry["name"] for entry in document["superpixels"]] == ["slic-c10-4,9", "slic-c10-12"]
    assert shard.read_bytes() == before
    assert shard_files(Store(out), "test", "images") == [shard]
    refused = here(*command(root, out, *STORES["raw"], "--codec", "raw", "--splits", "test"))
    assert refused.exit_code == 1
    assert "--codec: stored png, requested raw" in refused.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--resize", "short", "--codec", "raw"), ("--codec", "--resize short requires jpeg or png")),
        (("--resize", "none", "--codec", "raw"), ("--codec", "--resize none requires jpeg or png")),
        (("--resize", "none", "--size", "64"), ("--size", "no effect with --resize none")),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_size_and_a_codec_that_do_not_go_together_are_a_usage_error(root, tmp_path, options, parts):
    done = here(*command(root, tmp_path / "x.h5", *options))
    assert done.exit_code == 2
    assert all(part in done.stderr for part in parts)
    assert list(tmp_path.iterdir()) == []


def train(store: Store, out: Path, *options: str) -> Result:
    options = ("--shards", store.path, "--out", out, *TRAIN, *options)
    return CliRunner().invoke(main, ["train", *map(str, options)], catch_exceptions=False)


@pytest.mark.parametrize("name", ["short-jpeg", "none-jpeg"] if PROOF else ["none-jpeg"])
def test_training_runs_on_images_of_varied_sizes(stores, tmp_path, name):
    whole = ("--set", "data.crop=resized", "--set", "data.test=resize")
    done = train(stores[name], tmp_path / "run", *whole)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert "NaN" not in json.dumps(results)


@pytest.mark.parametrize("setting", ["data.crop=random", "data.crop=pad", "data.test=center"])
def test_training_that_needs_one_size_is_refused_with_the_settings_that_help(stores, tmp_path, setting):
    done = train(stores["none-jpeg"], tmp_path / "run", "--set", setting)
    assert done.exit_code in (1, 2)
    assert "--set data.crop=resized --set data.test=resize" in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()
