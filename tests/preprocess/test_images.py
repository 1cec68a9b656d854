"""The traps of image files, one small file each."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, features

from preprocess.errors import ImageError
from preprocess.images import FORMATS, decode, fit
from tests.conftest import ROOT

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION, RESOLUTION = 0x0112, 0x011A


def coded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> list:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def noise(height: int = 24, width: int = 20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[RED, GREEN, BLUE]]),
        (3, [[BLUE, GREEN, RED]]),
        (6, [[RED], [GREEN], [BLUE]]),
        (8, [[BLUE], [GREEN], [RED]]),
    ],
)
def test_the_orientation_of_the_camera_is_applied(orientation, upright):
    row = Image.fromarray(np.array([[RED, GREEN, BLUE]], np.uint8))
    assert pixels(coded(row, exif=exif_of(orientation))) == np.array(upright).tolist()


def test_a_transparent_palette_entry_becomes_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putdata([0, 1])
    assert pixels(coded(picture, transparency=1)) == [[list(RED), list(WHITE)]]


def test_an_opaque_palette_keeps_its_colours():
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *GREEN])
    picture.putdata([1, 0])
    assert pixels(coded(picture)) == [[list(GREEN), list(RED)]]


def test_alpha_is_laid_on_white():
    picture = Image.fromarray(np.array([[[0, 0, 0, 255], [10, 20, 30, 0], [255, 0, 0, 51]]], np.uint8))
    assert pixels(coded(picture)) == [[[0, 0, 0], [255, 255, 255], [255, 204, 204]]]  # 51 / 255 of red


def test_grey_alpha_is_laid_on_white():
    picture = Image.merge("LA", (Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 51)))
    assert pixels(coded(picture)) == [[[204, 204, 204]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form):
    picture = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    assert pixels(coded(picture, form)) == [[[value] * 3 for value in (0, 1, 128, 255)]]


def test_grey_is_copied_to_three_channels():
    assert pixels(coded(Image.new("L", (1, 1), 77))) == [[[77, 77, 77]]]


def test_a_cmyk_jpeg_shows_its_printed_colours():
    inks = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    inks.paste((0, 0, 0, 0), (8, 0, 16, 8))
    image = np.asarray(decode(coded(inks, "JPEG", quality=100))).astype(int)
    assert abs(image[:, :8] - RED).max() <= 3
    assert abs(image[:, 8:] - WHITE).max() <= 3


def test_the_format_is_found_by_content_not_by_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(coded(Image.new("RGB", (2, 1), GREEN), "PNG"))
    assert pixels(path.read_bytes()) == [[list(GREEN), list(GREEN)]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image, but a page of text\n" * 40, "not an image"),
        (coded(noise(), "JPEG")[:-400], "damaged"),
        (coded(noise(), "PNG")[:-400], "damaged"),
        (coded(noise(), "JPEG")[:3], "not an image"),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "three bytes"],
)
def test_unusable_bytes_are_refused_with_a_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "TGA", "AVIF"])
def test_no_damage_in_a_header_escapes_as_another_error(form):
    if form in ("AVIF", "WEBP") and not features.check(form.lower()):
        pytest.skip(f"this Pillow has no {form}")
    exif = exif_of(6)
    exif[RESOLUTION] = 72.0
    data = coded(noise(8, 8), form, **({"exif": exif} if form in ("JPEG", "WEBP") else {}))
    escaped = {}
    for offset in range(min(len(data), 400)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << offset % 8
        try:
            decode(bytes(damaged))
        except ImageError:
            pass
        except Exception as error:
            escaped[offset] = repr(error)
    assert not escaped


def test_an_odd_entry_in_the_exif_data_does_not_cost_the_picture():
    exif = exif_of(6)
    exif[RESOLUTION] = 72.0
    rational, text = struct.pack(">HH", RESOLUTION, 5), struct.pack(">HH", RESOLUTION, 2)
    image = noise(8, 16)
    data = coded(image, "JPEG", exif=exif)
    assert data.count(rational) == 1
    assert decode(data.replace(rational, text)).size == (8, 16)


def test_a_picture_larger_than_pillows_limit_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(coded(noise(10, 10))).size == (10, 10)
    with pytest.raises(ImageError, match="too many pixels"):
        decode(coded(noise(11, 10)))


def test_a_progressive_jpeg_of_a_thousand_scans_is_not_decoded():
    data = coded(noise(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]  # before the end mark
    assert decode(data[:-2] + last * 80 + data[-2:]).size == (20, 24)
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode(data[:-2] + last * 1000 + data[-2:])


def test_a_jpeg_of_a_thousand_scans_of_one_colour_is_not_decoded():
    data = coded(noise(), "JPEG", subsampling=0)
    head = data[: data.index(b"\xff\xda")]
    scans = [
        b"\xff\xda\0\x08\x01" + bytes([colour, table, 0, 63, 0]) + bytes(4)
        for colour, table in ((1, 0), (2, 17), (3, 17))
    ]
    assert decode(head + b"".join(scans) + b"\xff\xd9").size == (20, 24)
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode(head + scans[0] * 1000 + scans[1] + scans[2] + b"\xff\xd9")


def test_a_film_behind_a_photo_is_no_scan():
    data = coded(noise(), "JPEG")
    film = np.random.default_rng(0).bytes(10_000_000)
    assert film.count(b"\xff\xda") > 100
    assert decode(data + film).size == (20, 24)


def test_a_png_of_a_thousand_profiles_is_not_opened():
    profile = b"name\0\0" + zlib.compress(bytes(900_000))
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile + struct.pack(">I", zlib.crc32(b"iCCP" + profile))
    data = coded(noise(), "PNG")
    assert decode(data[:33] + chunk + data[33:]).size == (20, 24)
    with pytest.raises(ImageError, match="many colour profiles"):
        decode(data[:33] + chunk * 1200 + data[33:])


def test_a_tile_larger_than_any_image_is_not_decoded():
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16_384, 323: 16_384, 324: 8, 325: 9}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 18) + bytes(10) + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(ImageError, match="too many pixels: 16384x16384"):
        decode(data)


HOSTILE = """
import io, sys
from PIL import Image
from preprocess.images import decode
from preprocess.errors import ImageError
buffer = io.BytesIO()
Image.effect_noise((64, 64), 90).save(buffer, "TIFF", compression="tiff_lzw")
for offset in range(len(buffer.getvalue()) - 160, len(buffer.getvalue())):
    for value in (0, 255):
        data = bytearray(buffer.getvalue())
        data[offset] = value
        try:
            decode(bytes(data))
        except ImageError:
            pass
"""


def test_nothing_of_what_the_decoders_say_reaches_the_terminal():
    done = subprocess.run([sys.executable, "-c", HOSTILE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_guide_names_the_formats():
    assert f"({', '.join(FORMATS)})" in (ROOT / "preprocess" / "README.md").read_text()


@pytest.mark.parametrize("shape", [(40, 31), (9, 50), (16, 16)])
def test_squashing_equals_pillows_bilinear_resize(shape):
    image = noise(*shape)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fit(decode(coded(image)), 16), expected)


def test_the_orientation_is_applied_before_squashing():
    image = noise(10, 30)
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fit(decode(coded(image, exif=exif_of(6))), 16), expected)
