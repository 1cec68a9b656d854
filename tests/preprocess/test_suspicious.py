"""Which images are suspicious: painted ones, one for each kind and just beside it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from preprocess.images import decode_source
from preprocess.suspicious import CLIPPED, CONSTANT, FAINT, FLOAT, RANGE, THIN, describe, joined, judge, summary
from tests.conftest import ROOT
from tests.preprocess.test_images import coded, noise, tiff


def grey(most: int, depth: type = np.uint16) -> np.ndarray:
    """A ramp from 0 to a value."""
    return np.linspace(0, most, 400).astype(depth).reshape(20, 20)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (grey(4095), RANGE),
        (grey(16383), RANGE),  # 14 bits
        (grey(16384), 0),
        (grey(65535), 0),
        (grey(200), RANGE | CONSTANT),  # stored black
        (np.zeros((20, 20), np.uint16), CONSTANT),
        (grey(63, np.uint8), RANGE),
        (grey(64, np.uint8), 0),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_range_far_below_that_of_the_type_is_suspicious(values, bits, form):
    assert decode_source(coded(Image.fromarray(values), form)).suspicious == bits


def test_so_is_one_of_sixteen_bits_a_colour():
    colour = np.stack([grey(4095)] * 3, 2)
    assert decode_source(tiff(colour, 2)).suspicious == RANGE
    assert decode_source(tiff(colour * 4, 2)).suspicious == RANGE  # 14 bits
    assert decode_source(tiff(colour * 16, 2)).suspicious == 0


def test_the_image_of_twelve_bits_that_came_is_suspicious():
    path = ROOT.parent / "shared" / "cases" / "12bit-in-16.png"
    if not path.exists():
        pytest.skip("these inputs are not here")
    found = decode_source(path.read_bytes())
    assert found.suspicious == RANGE
    assert max(most for _, most in found.image.getextrema()) == 15


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (grey(65536, np.int32), CLIPPED),
        (grey(65535, np.int32), 0),
        (grey(2**24, np.int32), CLIPPED),
        (grey(40_000, np.int32) - 1, CLIPPED),
        (grey(9000, np.int16) - 3000, CLIPPED | RANGE),
    ],
)
def test_values_that_sixteen_bits_do_not_hold_are_suspicious(values, bits):
    data = cv2.imencode(".tif", values)[1].tobytes()
    assert decode_source(data).suspicious == bits


@pytest.mark.parametrize(("most", "bits"), [(63, FAINT), (64, 0), (255, 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_image_that_is_nowhere_opaque_is_suspicious(mode, most, bits):
    image = noise().convert(mode)
    alpha = np.full((image.height, image.width), 9, np.uint8)
    alpha[3, 4] = most
    image.putalpha(Image.fromarray(alpha))
    assert decode_source(coded(image, "PNG")).suspicious == bits


def test_floating_values_are_suspicious_whatever_their_range():
    for most in (1, 255, 1e6):
        assert decode_source(tiff(np.linspace(0, most, 400, dtype=np.float32).reshape(20, 20), 1)).suspicious == FLOAT


def test_one_colour_is_suspicious_and_one_other_pixel_suffices():
    image = Image.new("RGB", (50, 40), (9, 200, 3))
    assert judge(image) == CONSTANT
    image.putpixel((49, 39), (9, 200, 4))
    assert judge(image) == 0


@pytest.mark.parametrize(
    ("size", "bits"), [((100, 10), 0), ((101, 10), THIN), ((10, 101), THIN), ((8, 9), 0), ((7, 9), THIN), ((1, 1), 12)]
)
def test_an_image_ten_times_as_long_as_wide_or_of_a_few_pixels_is_suspicious(size, bits):
    image = noise(size[1], size[0])
    assert judge(image) == bits


def test_what_lies_in_the_banner_is_not_judged():
    image = Image.new("RGB", (50, 40), (9, 200, 3))
    image.paste((0, 0, 0), (0, 30, 50, 40))
    assert decode_source(coded(image), 0).suspicious == 0
    assert decode_source(coded(image), 10).suspicious == CONSTANT


def test_a_summary_counts_and_names_the_first_twenty():
    bits = np.array([0, CONSTANT] * 30 + [RANGE | THIN], np.uint8)
    keys = [f"{row}.png" for row in range(61)]
    found = summary(bits, keys)
    assert found == {
        "range": {"count": 1, "examples": ["60.png"]},
        "constant": {"count": 30, "examples": [f"{row}.png" for row in range(1, 40, 2)]},
        "thin": {"count": 1, "examples": ["60.png"]},
    }
    together = joined([found, {}, {"thin": {"count": 2, "examples": ["a", "b"]}}])
    assert describe(together) == (
        "1 uses less than a quarter of its range of values (60.png), 30 are one colour (1.png, ...), "
        "3 are very narrow (60.png, ...)"
    )
    assert summary(np.zeros(3, np.uint8), ["a", "b", "c"]) == {}
