"""Windows: against a slow loop over the definition, and at the edges."""

import math

import numpy as np
import pytest

from lgcoamix.data.windows import DRAWS, View, draw_windows, fixed_windows
from lgcoamix.settings.sections import DataSettings

SIZES = [(64, 64), (40, 200), (300, 30), (1, 1), (7, 5)] * 40
RESIZED = DataSettings(image_size=32, crop="resized", scale=(0.1, 0.9), ratio=(0.75, 1.3333), flip=0.3)


def _uniforms(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, DRAWS))


def _slow(settings: DataSettings, size: tuple[int, int], draws: np.ndarray) -> tuple[int, int, int, int, bool]:
    """One random resized crop: ten attempts, then the largest window of an allowed ratio."""
    H, W = size
    flip, top, left, *rest = draws
    low, high = math.log(settings.ratio[0]), math.log(settings.ratio[1])
    for area, shape in zip(rest[0::2], rest[1::2], strict=True):
        wanted = H * W * (settings.scale[0] + area * (settings.scale[1] - settings.scale[0]))
        ratio = math.exp(low + shape * (high - low))
        height, width = round(math.sqrt(wanted / ratio)), round(math.sqrt(wanted * ratio))
        if 0 < height <= H and 0 < width <= W:
            break
    else:
        height, width = H, W
        if settings.ratio[0] > W / H:
            height = max(1, round(W / settings.ratio[0]))
        elif settings.ratio[1] < W / H:
            width = max(1, round(H * settings.ratio[1]))
    return math.floor(top * (H - height + 1)), math.floor(left * (W - width + 1)), height, width, flip < settings.flip


@pytest.mark.parametrize("arguments", [(64, True), (RESIZED, "test")])
def test_a_view_of_something_else_is_refused(arguments):
    with pytest.raises(ValueError, match=r"must be as View\(DataSettings\(image_size=64\), train=True\), got View\("):
        View(*arguments)


def test_resized_windows_are_those_of_the_slow_loop():
    draws = _uniforms(len(SIZES))
    windows = draw_windows(RESIZED, SIZES, draws)
    assert [windows[place] for place in range(len(SIZES))] == [
        _slow(RESIZED, size, row) for size, row in zip(SIZES, draws, strict=True)
    ]


@pytest.mark.parametrize("crop", ["resized", "random"])
def test_windows_lie_inside_their_image(crop):
    sizes = np.array([(64, 64), (40, 33), (32, 90)] * 100)
    windows = draw_windows(DataSettings(image_size=32, crop=crop), sizes, _uniforms(300))
    assert (windows.top >= 0).all()
    assert (windows.left >= 0).all()
    assert (windows.top + windows.height <= sizes[:, 0]).all()
    assert (windows.left + windows.width <= sizes[:, 1]).all()


def test_padding_lets_a_window_reach_out_by_as_much_and_no_more():
    windows = draw_windows(DataSettings(image_size=32, crop="pad", padding=4), [(32, 32)] * 2000, _uniforms(2000))
    assert set(windows.top) == set(windows.left) == set(range(-4, 5))
    assert set(windows.height) == set(windows.width) == {32}


def test_extreme_draws_stay_inside():
    almost = np.nextafter(1.0, 0.0)
    for value in (0.0, almost):
        windows = draw_windows(DataSettings(image_size=8, crop="random"), [(8, 11)], np.full((1, DRAWS), value))
        assert windows[0][:4] == (0, 3 if value else 0, 8, 8)


def test_evaluation_shows_the_whole_image_or_its_centre():
    assert fixed_windows(DataSettings(image_size=9), [(20, 31)])[0] == (0, 0, 20, 31, False)
    assert fixed_windows(DataSettings(image_size=9, test="center"), [(20, 31)])[0] == (5, 11, 9, 9, False)
