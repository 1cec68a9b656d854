"""Image and map go through the same window: pixels that encode their superpixel still do so afterwards."""

import warnings
from collections.abc import Callable
from types import ModuleType

import cv2
import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import maximum_filter, minimum_filter

from lgcoamix.data import View, transforms
from lgcoamix.data.transforms import show_map, show_window
from lgcoamix.data.windows import DRAWS
from lgcoamix.ops.seeding import uniforms
from lgcoamix.settings.sections import DataSettings
from tests.conftest import PROOF

SIZE, SENTINEL = 40, 255
COLOURS = np.random.default_rng(0).integers(30, 256, (256, 3), dtype=np.uint8)

KINDS = {
    "random": (DataSettings(image_size=24, crop="random"), True),
    "random, whole": (DataSettings(image_size=40, crop="random"), True),
    "pad": (DataSettings(image_size=40, crop="pad", padding=6), True),
    "resized, smaller": (DataSettings(image_size=17, crop="resized", scale=(0.3, 1)), True),
    "resized, larger": (DataSettings(image_size=64, crop="resized", scale=(0.3, 1)), True),
    "test resize, smaller": (DataSettings(image_size=23, test="resize"), False),
    "test resize, larger": (DataSettings(image_size=57, test="resize"), False),
    "test centre": (DataSettings(image_size=30, test="center"), False),
}
SEEDS = range(200 if PROOF else 12)
kinds = pytest.mark.parametrize(("settings", "train"), KINDS.values(), ids=KINDS)


Transform = Callable[[np.ndarray, np.ndarray | None, int], tuple[np.ndarray, np.ndarray | None]]


def _transform(settings: DataSettings, train: bool, sentinel: int) -> Transform:
    """Image, map and a seed in, both through the window of that seed out: as the streaming data set does it."""
    view = View(settings, train)

    def through(image: np.ndarray, ids: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        draws = uniforms("window", 5, np.array([0]), np.array([seed]), DRAWS)
        window = view.windows([image.shape[:2]], draws)[0]
        shown = show_window(image, window, settings.image_size)
        return shown, None if ids is None else show_map(ids, window, settings.image_size, sentinel)

    return through


def _painted(dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    """A map of 5x4 unequal blocks and the image that gives every id a colour of its own."""
    rows, columns = np.searchsorted([7, 19, 24, 33], np.arange(SIZE), side="right"), np.arange(SIZE) // 11
    ids = (4 * rows[:, None] + columns[None]).astype(dtype)
    return COLOURS[ids], ids


@kinds
def test_colours_still_name_their_superpixels(settings, train):
    image, ids = _painted()
    transform, shares = _transform(settings, train, SENTINEL), []
    for seed in SEEDS:
        moved, map_ids = transform(image, ids, seed)
        assert moved.shape == (settings.image_size, settings.image_size, 3)
        assert map_ids.shape == moved.shape[:2]
        # Away from boundaries, where the image is interpolated and the map is not.
        reach = 3 if settings.image_size < SIZE else 5
        inner = (minimum_filter(map_ids, reach) == maximum_filter(map_ids, reach)) & (map_ids != SENTINEL)
        shares.append(inner.mean())
        np.testing.assert_array_equal(moved[inner], COLOURS[map_ids[inner]])
    assert np.mean(shares) > 0.15  # much of the image was compared


@kinds
@pytest.mark.parametrize("axis", [0, 1])
def test_boundaries_of_image_and_map_fall_on_the_same_pixels(settings, train, axis):
    # Black and white halves: an interpolated pixel is lighter than grey where its centre lies in the white half.
    ids = np.zeros((SIZE, SIZE), np.uint8)
    ids[(slice(17, None), slice(None))[:: 1 if axis == 0 else -1]] = 1
    image = np.repeat(ids[:, :, None] * 200 + 20, 3, axis=2).astype(np.uint8)
    transform = _transform(settings, train, SENTINEL)
    for seed in SEEDS:
        moved, map_ids = transform(image, ids, seed)
        clear = (np.abs(moved[:, :, 0].astype(int) - 120) > 5) & (map_ids != SENTINEL)
        np.testing.assert_array_equal((moved[:, :, 0] > 120)[clear], (map_ids == 1)[clear])


@kinds
def test_no_id_appears_that_was_not_there(settings, train):
    image, ids = _painted()
    ids = ids * 12  # gaps between the ids, which interpolation would fill
    transform = _transform(settings, train, SENTINEL)
    for seed in SEEDS:
        _, map_ids = transform(image, ids, seed)
        assert set(np.unique(map_ids)) <= {*np.unique(ids), *([SENTINEL] if settings.crop == "pad" and train else [])}


@kinds
def test_the_image_does_not_depend_on_whether_a_map_goes_along(settings, train):
    image, ids = _painted()
    transform = _transform(settings, train, SENTINEL)
    for seed in SEEDS:
        alone, nothing = transform(image, None, seed)
        assert nothing is None
        np.testing.assert_array_equal(alone, transform(image, ids, seed)[0])


@kinds
def test_inputs_stay_unchanged_and_types_are_kept(settings, train):
    image, ids = _painted(np.uint16)
    before = image.copy(), ids.copy()
    moved, map_ids = _transform(settings, train, 65535)(image, ids, 3)
    assert moved.dtype == np.uint8
    assert map_ids.dtype == np.uint16
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(ids, before[1])


@pytest.mark.parametrize(("dtype", "sentinel"), [(np.uint8, 255), (np.uint16, 65535)])
def test_padding_is_black_and_belongs_to_no_superpixel(dtype, sentinel):
    image, ids = _painted(dtype)
    transform = _transform(DataSettings(image_size=40, crop="pad", padding=6), True, sentinel)
    padded = 0
    for seed in SEEDS:
        moved, map_ids = transform(image, ids, seed)
        outside = map_ids == sentinel
        assert not moved[outside].any()
        assert moved[~outside].all()  # no colour has a zero
        padded += outside.any()
    assert padded > len(SEEDS) // 2


@pytest.fixture(scope="module")
def albumentations() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version
        return pytest.importorskip("albumentations")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("reach", [0, 9], ids=["inside", "beyond the image"])
def test_windows_have_the_pixels_that_albumentations_computes(albumentations, dtype, reach):
    random = np.random.default_rng(reach)
    outside, flips = np.iinfo(dtype).max, set()
    for _ in range(2000 if PROOF else 200):
        H, W, size = random.integers(12, 60, 3).tolist()
        image = random.integers(0, 256, (H, W, 3), dtype=np.uint8)
        ids = random.integers(0, outside, (H, W), dtype=dtype)
        kind = random.integers(4)  # any window, one that is not resized, or one that OpenCV halves
        height, width = (1 + random.integers((H, W)), (size, size), (2 * size, 2 * size), (size, W))[kind]
        height, width = min(height, H + 2 * reach), min(width, W + 2 * reach)
        top, left = (int(random.integers(-reach, room + reach + 1)) for room in (H - height, W - width))
        window = (top, left, int(height), int(width), bool(random.integers(2)))
        flips.add(window[4])
        how = cv2.INTER_AREA if height > size or width > size else cv2.INTER_LINEAR
        steps = albumentations.Compose(
            [
                albumentations.Pad(reach, fill=0, fill_mask=int(outside)),
                albumentations.Crop(left + reach, top + reach, left + reach + int(width), top + reach + int(height)),
                albumentations.Resize(size, size, how, cv2.INTER_NEAREST_EXACT),
                albumentations.HorizontalFlip(p=float(window[4])),
            ]
        )
        expected = steps(image=image, mask=ids)
        shown = show_window(image, window, size), show_map(ids, window, size, outside)
        np.testing.assert_array_equal(shown[0], expected["image"], err_msg=str(window))
        np.testing.assert_array_equal(shown[1], expected["mask"], err_msg=str(window))
        assert shown[1].dtype == dtype
    assert flips == {False, True}


def test_the_test_protocol_is_the_same_for_every_seed():
    image, ids = _painted()
    for settings, train in KINDS.values():
        if not train:
            transform = _transform(settings, train, SENTINEL)
            np.testing.assert_array_equal(transform(image, ids, 0)[0], transform(image, ids, 1)[0])


def test_the_centre_crop_takes_the_centre():
    image, ids = _painted()
    moved, map_ids = _transform(DataSettings(image_size=30, test="center"), False, SENTINEL)(image, ids, 0)
    np.testing.assert_array_equal(moved, image[5:35, 5:35])
    np.testing.assert_array_equal(map_ids, ids[5:35, 5:35])


@pytest.mark.parametrize("train", [True, False])
def test_an_image_that_shrinks_is_averaged_and_does_not_alias(train):
    # Columns of 200, 0, 0, 200 at a quarter of the size: the mean is 100, while bilinear would see the zeros alone.
    image = np.tile(np.array([200, 0, 0, 200], np.uint8)[None, :, None], (40, 10, 3))
    settings = DataSettings(image_size=10, crop="resized", scale=(1, 1), ratio=(1, 1))
    moved = _transform(settings, train, SENTINEL)(image, None, 0)[0]
    np.testing.assert_array_equal(moved, np.full((10, 10, 3), 100))


def _windows(settings: DataSettings, side: int, draws: int) -> np.ndarray:
    """(draws, 3) rows of top, left and whether flipped, read off a map of coordinates."""
    places = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    picture = np.zeros((side, side, 3), np.uint8)
    transform, rows = _transform(settings, True, 65535), []
    for seed in range(draws):
        line = transform(picture, places, seed)[1][0].astype(int)
        rows.append((line[0] // side, line.min() % side, line[0] > line[-1]))
    return np.array(rows)


def test_crop_and_flip_are_uniform_and_independent():
    draws = 6000 if PROOF else 1500
    windows = _windows(DataSettings(image_size=5, crop="random", flip=0.5), 8, draws)
    tops, lefts, flips = windows.T
    assert set(tops) == set(lefts) == {0, 1, 2, 3}
    for positions in (tops, lefts):
        assert stats.chisquare(np.bincount(positions)).pvalue > 1e-3
    assert abs(flips.mean() - 0.5) < 4 * 0.5 / draws**0.5
    for one, other in ((tops, flips), (lefts, flips), (tops, lefts)):
        table = np.zeros((4, 4 if other is lefts else 2))
        np.add.at(table, (one, other), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("chance", [0.0, 0.2, 1.0])
def test_the_flip_obeys_its_probability(chance):
    draws = 400
    flips = _windows(DataSettings(image_size=5, crop="random", flip=chance), 8, draws)[:, 2]
    assert abs(flips.mean() - chance) <= 4 * (chance * (1 - chance) / draws) ** 0.5


def test_resized_windows_keep_to_their_bounds():
    # Linear ramps in x and y: the slope of the output gives the share of the image that it shows.
    ramp = np.linspace(0, 255, 200).round().astype(np.uint8)
    image = np.dstack([np.tile(ramp, (200, 1)), np.tile(ramp[:, None], (1, 200)), np.zeros((200, 200), np.uint8)])
    settings = DataSettings(image_size=50, crop="resized", scale=(0.25, 0.5), ratio=(0.8, 1.25), flip=0.0)
    transform, shares, ratios = _transform(settings, True, SENTINEL), [], []
    for seed in range(300):
        out = transform(image, None, seed)[0].astype(float)
        width = (out[:, -1, 0] - out[:, 0, 0]).mean() / 255 * 50 / 49
        height = (out[-1, :, 1] - out[0, :, 1]).mean() / 255 * 50 / 49
        shares.append(width * height)
        ratios.append(width / height)
    assert min(shares) == pytest.approx(0.25, abs=0.02)
    assert max(shares) == pytest.approx(0.5, abs=0.02)
    assert min(ratios) == pytest.approx(0.8, abs=0.04)
    assert max(ratios) == pytest.approx(1.25, abs=0.06)


def test_without_opencv_torch_gives_the_same_pixels(monkeypatch):
    random, opencv = np.random.default_rng(0), transforms.cv2
    for _ in range(300):
        H, W, size = (int(side) for side in random.integers(8, 48, 3))
        image = random.integers(0, 256, (H, W, 3), dtype=np.uint8)
        ids = random.integers(0, 300, (H, W)).astype(random.choice([np.uint8, np.uint16]))
        height, width = int(random.integers(1, H + 1)), int(random.integers(1, W + 1))
        top, left = int(random.integers(0, H - height + 1)), int(random.integers(0, W - width + 1))
        window = (top, left, height, width, bool(random.integers(2)))
        if random.random() < 0.2:  # as large as the output, also beyond the image
            window = (*random.integers(-6, 6, 2).tolist(), size, size, window[-1])
        shown = []
        for module in (opencv, None):
            monkeypatch.setattr(transforms, "cv2", module)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shown.append((show_window(image, window, size), show_map(ids, window, size, 255)))
        for ours, theirs in zip(*shown, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
            assert theirs.flags.c_contiguous


@pytest.mark.parametrize("library", ["OpenCV", "torch"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("side", [6, 9], ids=["cropped", "resized"])
@pytest.mark.filterwarnings("ignore:OpenCV")
def test_a_crop_is_written_into_its_place_in_the_batch(monkeypatch, library, flip, side):
    if library == "torch":
        monkeypatch.setattr(transforms, "cv2", None)
    image, ids = np.full((12, 12, 3), 7, np.uint8), np.full((12, 12), 300, np.uint16)
    images, maps = np.zeros((3, 6, 6, 3), np.uint8), np.zeros((3, 6, 6), np.uint16)
    window = (1, 2, side, side, flip)
    assert show_window(image, window, 6, images[1]).base is images
    assert show_map(ids, window, 6, 65535, maps[1]).base is maps
    assert [np.unique(part).tolist() for part in (*images, *maps)] == [[0], [7], [0], [0], [300], [0]]
