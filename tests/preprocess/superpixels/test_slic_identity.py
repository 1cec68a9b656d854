"""Our SLIC against the installed scikit-image, pixel for pixel.

If this fails after an upgrade of scikit-image, its labels have changed: leave the new version out of ``_TESTED`` in
``slic.py`` until the kernel follows.
"""

import importlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import segmentation

from preprocess.superpixels import slic, slic_multiscale
from preprocess.superpixels.slic_kernel import TILE
from tests.conftest import PROOF, ROOT

MODULE = importlib.import_module("preprocess.superpixels.slic")


@pytest.fixture(autouse=True)
def only_the_kernel(monkeypatch):
    """Nothing here may be answered by scikit-image, or the comparison would say nothing."""

    def refuse(*request: object) -> None:
        raise AssertionError(f"scikit-image was asked for {request[1:]}")

    monkeypatch.setattr(MODULE, "_by_library", refuse)


def assert_same(image: np.ndarray, count: int, compactness: float = 10.0, **options: object) -> None:
    expected = segmentation.slic(image, n_segments=count, compactness=compactness, start_label=0, **options)
    found = slic(image, count, compactness, **options)
    assert found.dtype == expected.dtype
    different = int((found != expected).sum())
    assert different == 0, (
        f"{different} pixels of {image.shape}: {count} segments, compactness {compactness}, {options}"
    )


def draw_settings(random: np.random.Generator, pixels: int) -> dict:
    """n from 2 to 500, compactness 0.1 to 100, now and then other options."""
    settings = {
        "count": int(random.integers(2, min(500, pixels) + 1)),
        "compactness": float(10 ** random.uniform(-1, 2)),
    }
    if random.random() < 0.25:
        settings["enforce_connectivity"] = False
    if random.random() < 0.2:
        settings["slic_zero"] = True
    if random.random() < 0.2:
        settings["max_num_iter"] = int(random.integers(1, 20))
    return settings


def photographs(flowers: Path, size: tuple[int, int], number: int) -> Iterator[np.ndarray]:
    """Photographs spread over flowers17, at (W, H) pixels."""
    paths = sorted(flowers.rglob("*.jpg"))
    for path in paths[:: max(1, len(paths) // number)][:number]:
        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("side", "some", "all_of_them"), [(64, 20, 1360), (224, 6, 1360), (256, 4, 1360), (448, 2, 50)]
)
def test_photographs(flowers, side, some, all_of_them):
    random = np.random.default_rng(side)
    for image in photographs(flowers, (side, side), all_of_them if PROOF else some):
        assert_same(image, 36)
        assert_same(image, **draw_settings(random, side * side))


@pytest.mark.parametrize("size", [(224, 160), (97, 313), (500, 333), (33, 448), (256, 17)])
def test_photographs_that_are_not_square(flowers, size):
    random = np.random.default_rng(sum(size))
    for image in photographs(flowers, size, 50 if PROOF else 3):
        assert_same(image, 40)
        assert_same(image, **draw_settings(random, size[0] * size[1]))


@pytest.mark.parametrize("compactness", [0.1, 1.0, 10.0, 100.0])
def test_every_count_and_compactness(flowers, compactness):
    counts = range(2, 501) if PROOF else (2, 3, 7, 30, 100, 333, 500)
    (image,) = photographs(flowers, (96, 80), 1)
    for count in counts:
        assert_same(image, count, compactness)


def test_several_scales_at_once(flowers):
    for image in photographs(flowers, (224, 224), 200 if PROOF else 4):
        counts = (30, 33, 36, 39, 200)
        for ids, count in zip(slic_multiscale(image, counts), counts, strict=True):
            np.testing.assert_array_equal(ids, segmentation.slic(image, n_segments=count, start_label=0))


def test_cifar_10():
    archive = Path(os.environ.get("LGCOAMIX_REAL_DATA", ROOT.parent / "shared" / "data")) / "cifar10.tar.gz"
    if not archive.is_file():
        pytest.skip(f"real images are not at {archive}; set LGCOAMIX_REAL_DATA to their folder")
    random = np.random.default_rng(10)
    left = 1000 if PROOF else 60
    with tarfile.open(archive) as tar:
        for member in tar:
            if left and member.name.endswith(".jpg"):
                image = np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB"))
                assert_same(image, 20)
                assert_same(image, **draw_settings(random, image.shape[0] * image.shape[1]))
                left -= 1
    assert left == 0


def test_kinds_of_photographs(flowers):
    """Saturated, dark, of few colours, greyscale, mirrored into ties."""
    random = np.random.default_rng(4)
    for image in photographs(flowers, (150, 130), 20 if PROOF else 2):
        grey = image.mean(axis=2).astype(np.uint8)[..., None].repeat(3, axis=2)
        half = image[:, :75]
        kinds = [
            np.where(image > 120, 255, 0).astype(np.uint8),
            image // 64 * 64,
            image // 100,
            grey,
            np.concatenate([half, half[:, ::-1]], axis=1),
        ]
        for kind in kinds:
            assert_same(kind, 36)
            assert_same(kind, **draw_settings(random, 150 * 130))


def paint(random: np.random.Generator) -> np.ndarray:
    """Draw a small picture of one of many kinds, many of them full of ties."""
    height, width = (1 if random.random() < 0.08 else int(random.integers(1, 90)) for _ in range(2))
    shape, y, x = (height, width, 3), *np.mgrid[:height, :width]
    noise = random.integers(0, 256, shape)
    kinds = [
        np.full(shape, random.integers(256)),
        np.where(noise[..., :1] < 128, 10, 200).repeat(3, axis=2),
        noise,
        noise[y // 7, x // 7],
        noise[..., :1].repeat(3, axis=2),
        np.where(noise < 128, 0, 255),
        np.stack([3 * y + 2 * x] * 3, axis=2) % 256,
        np.stack([255 * y // height, 255 * x // width, 0 * x], axis=2),
        np.where((x // 8 + y // 8)[..., None] % 2 == 0, (250, 0, 0), (0, 0, 250)),
        np.where(x[..., None] == width // 2, 255, 0).repeat(3, axis=2),
    ]
    return np.ascontiguousarray(kinds[random.integers(len(kinds))].astype(np.uint8))


def test_painted_pictures():
    random = np.random.default_rng(11)
    for _ in range(20_000 if PROOF else 400):
        image = paint(random)
        if image.size > 6:  # at least two segments are asked for
            assert_same(image, **draw_settings(random, image.size // 3))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (2, 2), (3, 5)])
def test_tiny_and_thin_pictures(shape):
    random = np.random.default_rng(3)
    for _ in range(20):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        for count in (1, 2, 5, 40):
            assert_same(image, count)


def test_windows_much_larger_and_smaller_than_tiles(flowers):
    (image,) = photographs(flowers, (6 * TILE + 3, 5 * TILE + 1), 1)
    for count in (1, 2, 4, 12, 40, 90, 200, 700):
        for compactness in (0.1, 10.0):
            assert_same(image, count, compactness)
