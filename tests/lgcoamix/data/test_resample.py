"""Whole batches on a device get the very pixels that OpenCV computes one sample at a time."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lgcoamix.data.resample import resample_images, resample_maps
from lgcoamix.data.windows import Windows
from tests.conftest import PROOF

SENTINEL = 65535
BATCHES = 200 if PROOF else 12
devices = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)

# Heights and widths of the window for an output of 32, in sources of 150 to 170.
KINDS = {
    "grows": ((1, 32), (1, 32)),
    "shrinks": ((33, 150), (33, 150)),
    "higher, narrower": ((33, 150), (1, 32)),
    "lower, wider": ((1, 32), (33, 150)),
    "shrinks slightly": ((33, 37), (33, 37)),
    "same height, wider": ((32, 32), (33, 150)),
    "same width, lower": ((1, 31), (32, 32)),
    "same": ((32, 32), (32, 32)),
    "halved": ((64, 64), (64, 64)),
    "quarter": ((128, 128), (128, 128)),
    "third and half": ((96, 96), (64, 64)),
    "half of one axis": ((32, 32), (64, 64)),
    "doubled": ((16, 16), (16, 16)),
    "doubled and halved": ((16, 16), (64, 64)),
    "one column": ((20, 100), (1, 1)),
    "one row": ((1, 1), (20, 100)),
}


def _windows(rows: list[tuple]) -> Windows:
    """From one (top, left, height, width, flip) a sample."""
    top, left, height, width, flip = np.array(rows, dtype=np.int64).T
    return Windows(top, left, height, width, flip.astype(bool))


def _inside(random: np.random.Generator, H: int, W: int, height: int, width: int) -> tuple:
    return random.integers(H - height + 1), random.integers(W - width + 1), height, width, random.integers(2)


def _expected(image: np.ndarray, window: tuple, size: int, fill: int) -> np.ndarray:
    """The same by OpenCV, on a padded copy."""
    top, left, height, width, flip = window
    border = ((size, size), (size, size), (0, 0))[: image.ndim]
    padded = np.pad(image, border, constant_values=fill)
    cut = padded[top + size : top + size + height, left + size : left + size + width]
    shrinks = height > size or width > size
    how = cv2.INTER_NEAREST_EXACT if image.ndim == 2 else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    done = cut if cut.shape[:2] == (size, size) else cv2.resize(cut, (size, size), interpolation=how)
    return done[:, ::-1] if flip else done


def _assert_same(images: np.ndarray, maps: np.ndarray, rows: list[tuple], size: int, device: str = "cpu") -> None:
    windows = _windows(rows)
    fill = min(SENTINEL, np.iinfo(maps.dtype).max)
    shown = resample_images(torch.from_numpy(images).permute(0, 3, 1, 2).to(device), windows, size)
    ids = resample_maps(torch.from_numpy(maps).to(device), windows, size, fill)
    assert shown.dtype == torch.uint8
    assert ids.dtype == (torch.uint8 if maps.dtype == np.uint8 else torch.uint16)
    assert shown.is_contiguous(memory_format=torch.channels_last)
    for place, row in enumerate(rows):
        expected = _expected(images[place], row, size, 0)
        np.testing.assert_array_equal(shown[place].permute(1, 2, 0).cpu().numpy(), expected, err_msg=str(row))
        expected = _expected(maps[place], row, size, fill)
        np.testing.assert_array_equal(ids[place].cpu().numpy(), expected, err_msg=str(row))


def _noise(random: np.random.Generator, B: int, H: int, W: int) -> tuple[np.ndarray, np.ndarray]:
    dtype = random.choice([np.uint8, np.uint16])
    images = random.integers(0, 256, (B, H, W, 3), dtype=np.uint8)
    return images, random.integers(0, np.iinfo(dtype).max, (B, H, W), dtype=dtype, endpoint=True)


@devices
@pytest.mark.parametrize(("heights", "widths"), KINDS.values(), ids=KINDS)
def test_noise_of_every_kind_of_window(heights, widths, device):
    random = np.random.default_rng(0)
    for _ in range(max(2, BATCHES // 6)):
        H, W = random.integers(150, 171, 2)
        sides = [(random.integers(*heights, endpoint=True), random.integers(*widths, endpoint=True)) for _ in range(8)]
        _assert_same(*_noise(random, 8, H, W), [_inside(random, H, W, *side) for side in sides], 32, device)


@devices
def test_noise_of_all_kinds_in_one_batch(device):
    random = np.random.default_rng(1)
    for _ in range(BATCHES):
        H, W = random.integers(1, 120, 2)
        size = random.integers(1, 100)
        sides = [(random.integers(1, H + 1), random.integers(1, W + 1)) for _ in range(10)]
        sides += [(H, W), (min(H, size), min(W, size)), (min(H, 2 * size), min(W, 2 * size)), (min(H, size), 1)]
        rows = [_inside(random, H, W, *side) for side in sides]
        _assert_same(*_noise(random, len(rows), H, W), rows, size, device)


def test_slivers_of_less_than_a_thousandth_of_a_pixel():
    random = np.random.default_rng(5)
    rows = [(0, 0, 1101, 1300, 0), (0, 0, 1299, 1101, 1)]
    _assert_same(*_noise(random, 2, 1300, 1300), rows, 1100)


def test_photographs(flowers: Path):
    random = np.random.default_rng(2)
    paths = sorted((flowers / "train").glob("*/*.jpg"))
    for _ in range(max(2, BATCHES // 6)):
        chosen = [paths[place] for place in random.integers(len(paths), size=12)]
        images = np.stack([np.asarray(Image.open(path).convert("RGB").resize((256, 256))) for path in chosen])
        maps = (images.sum(axis=3) * 80).astype(np.uint16)
        for size in (224, 96):
            sides = [(256, 256), (224, 224), *random.integers(20, 257, (10, 2))]
            _assert_same(images, maps, [_inside(random, 256, 256, *side) for side in sides], size)


@pytest.mark.parametrize("level", [0, 1, 127, 128, 254, 255])
def test_one_grey_stays_as_opencv_leaves_it(level):
    sides = np.random.default_rng(level).integers(1, 61, (24, 2))
    images, maps = np.full((24, 60, 60, 3), level, np.uint8), np.full((24, 60, 60), level, np.uint8)
    _assert_same(images, maps, [(0, 0, height, width, 0) for height, width in sides], 23)


@devices
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows_that_are_not_resized_may_reach_beyond_the_image(dtype, device):
    random = np.random.default_rng(3)
    images = random.integers(1, 256, (40, 30, 20, 3), dtype=np.uint8)
    maps = random.integers(0, 40, (40, 30, 20), dtype=dtype)
    rows = [(random.integers(-16, 31), random.integers(-16, 21), 16, 16, random.integers(2)) for _ in range(40)]
    _assert_same(images, maps, rows, 16, device)


def test_painted_by_hand():
    image = torch.tensor([[0, 10, 20, 31], [2, 12, 22, 33]], dtype=torch.uint8).expand(3, 3, 2, 4)
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 60000]], dtype=torch.uint16).expand(3, 2, 4).clone()
    # The left half as it is; the right half mirrored; one pixel above and left of the corner.
    windows = _windows([(0, 0, 2, 2, 0), (0, 2, 2, 2, 1), (-1, -1, 2, 2, 0)])
    shown = resample_images(image, windows, 2)
    assert shown[:, 0].tolist() == [[[0, 10], [2, 12]], [[31, 20], [33, 22]], [[0, 0], [0, 0]]]
    assert resample_maps(ids, windows, 2, 9).tolist() == [[[1, 2], [5, 6]], [[4, 3], [60000, 7]], [[9, 9], [9, 1]]]
    # Halved to one pixel: (0 + 10 + 2 + 12) / 4 = 6; (20 + 31 + 22 + 33) / 4 = 26.5, and halves go up.
    windows = _windows([(0, 0, 2, 2, 0), (0, 2, 2, 2, 0), (0, 3, 1, 1, 1)])
    assert resample_images(image, windows, 1)[:, 1].flatten().tolist() == [6, 27, 31]
    assert resample_maps(ids, windows, 1, 9).flatten().tolist() == [6, 60000, 4]


def test_order_in_memory_does_not_matter_and_inputs_stay():
    random = np.random.default_rng(4)
    windows = _windows([(3, 4, 20, 9, 1), (0, 0, 12, 12, 0), (1, 2, 25, 30, 0)])
    last = torch.from_numpy(random.integers(0, 256, (3, 30, 40, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    before = last.clone()
    assert torch.equal(resample_images(last.contiguous(), windows, 12), resample_images(last, windows, 12))
    assert torch.equal(last, before)


@pytest.mark.parametrize("size", [8, 16, 24])
def test_nothing_waits_for_the_device(size):
    # Tensors on the device "meta" have no values: whatever asks for one raises.
    windows = _windows(
        [(0, 0, 16, 16, 0), (1, 2, 9, 20, 1), (0, 0, 30, 30, 0), (3, 0, 5, 7, 1), (-2, 20, size, size, 0)]
    )
    images = torch.empty(5, 3, 30, 30, dtype=torch.uint8, device="meta")
    assert resample_images(images, windows, size).shape == (5, 3, size, size)
    maps = torch.empty(5, 30, 30, dtype=torch.uint16, device="meta")
    assert resample_maps(maps, windows, size, 7).shape == (5, size, size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_cuda():
    windows = _windows([(0, 0, 16, 16, 0), (1, 2, 9, 20, 1), (0, 0, 30, 30, 0), (3, 0, 5, 7, 1)])
    images = torch.zeros(4, 3, 30, 30, dtype=torch.uint8, device="cuda")
    maps = torch.zeros(4, 30, 30, dtype=torch.uint16, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        resample_images(images, windows, 16)
        resample_maps(maps, windows, 16, 7)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "row",
    [(-1, 0, 5, 5, 0), (0, 7, 5, 4, 0), (6, 0, 5, 4, 0), (0, 0, 11, 4, 0)],
    ids=["above", "right", "below", "all"],
)
def test_a_resized_window_that_reaches_beyond_is_refused(row):
    with pytest.raises(ValueError, match=r"window 1 .*extends beyond its 10x10 image; only windows of 4x4"):
        resample_images(torch.zeros(2, 3, 10, 10, dtype=torch.uint8), _windows([(0, 0, 10, 10, 0), row]), 4)
    with pytest.raises(ValueError, match=r"window 1 .*extends beyond"):
        resample_maps(torch.zeros(2, 10, 10, dtype=torch.uint8), _windows([(0, 0, 10, 10, 0), row]), 4, 0)


def test_wrong_shapes_and_dtypes_are_refused():
    windows = _windows([(0, 0, 4, 4, 0)])
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\) uint8, got \(1, 3, 4, 4\) torch.float32"):
        resample_images(torch.zeros(1, 3, 4, 4), windows, 4)
    with pytest.raises(ValueError, match="maps must be"):
        resample_maps(torch.zeros(1, 4, 4, dtype=torch.int64), windows, 4, 0)
    with pytest.raises(ValueError, match=r"sentinel must fit in torch.uint8, got 256"):
        resample_maps(torch.zeros(1, 4, 4, dtype=torch.uint8), windows, 4, 256)
    with pytest.raises(ValueError, match=r"\(2,\) arrays"):
        resample_images(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), windows, 4)
    with pytest.raises(ValueError, match="at least 1"):
        resample_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), _windows([(0, 0, 0, 4, 0)]), 4)
