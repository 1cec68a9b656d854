"""HEIF and JPEG XL: read by plugins of Pillow, written here by pillow-heif itself."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from preprocess import images
from preprocess.errors import ImageError
from preprocess.formats import HEAD, format_of
from preprocess.images import decode, encode
from tests.preprocess.conftest import build_here

heif = pytest.importorskip("pillow_heif")
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture() -> Image.Image:
    """Four different quarters, so that every turn gives another picture."""
    values = np.zeros((64, 96, 3), np.uint8)
    values[:32, :48], values[:32, 48:], values[32:, :48] = RED, GREEN, BLUE
    return Image.fromarray(values)


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=100, **options)
    return buffer.getvalue()


def test_a_photo_of_a_phone_is_read():
    data = heic(picture())
    assert format_of(data[:HEAD]) == "HEIF"
    image = decode(data)
    assert image.mode == "RGB"
    assert abs(np.asarray(image).astype(int) - np.asarray(picture())).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data, png = io.BytesIO(), io.BytesIO()
    heif.register_heif_opener()
    picture().save(data, "HEIF", quality=100, exif=exif.tobytes())  # with the property by which phones turn
    picture().save(png, "PNG", exif=exif)
    expected = np.asarray(decode(png.getvalue())).astype(int)
    image = np.asarray(decode(data.getvalue()))
    assert image.shape == expected.shape
    assert abs(image - expected).max() < 8


def test_of_several_images_the_primary_one_is_taken():
    several = heif.from_pillow(Image.new("RGB", (64, 64), RED))
    several.add_from_pillow(Image.new("RGB", (32, 48), GREEN))
    several.add_from_pillow(Image.new("RGB", (40, 40), BLUE))
    buffer = io.BytesIO()
    several.save(buffer, primary_index=1, quality=100)
    image = decode(buffer.getvalue())
    assert image.size == (32, 48)
    assert abs(np.asarray(image).astype(int) - GREEN).max() < 8


def test_ten_bits_become_eight_and_alpha_lies_on_white():
    deep = heif.from_bytes("RGB;16", (64, 64), np.full((64, 64, 3), 0x8000, np.uint16).tobytes())
    buffer = io.BytesIO()
    deep.save(buffer, quality=100)
    assert abs(np.asarray(decode(buffer.getvalue())).astype(int) - 128).max() <= 2
    assert decode(heic(Image.new("RGBA", (64, 64), (*RED, 0)))).getpixel((3, 3)) == (255, 255, 255)


def test_a_damaged_or_large_one_is_refused_with_a_reason(monkeypatch):
    data = heic(picture())
    for length in range(40, len(data), 97):
        with pytest.raises(ImageError, match="damaged"):
            decode(data[:length])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(ImageError, match="too many pixels"):
        decode(data)


def test_it_is_encoded_again_for_the_store():
    data = heic(picture())
    code, size = encode(decode(data), data, None, "none", "jpeg", 95)
    assert format_of(code[:HEAD]) == "JPEG"
    assert size == (64, 96)


@pytest.mark.parametrize("name", ["HEIF", "JPEG XL"])
def test_without_a_plugin_the_message_names_it(name, monkeypatch):
    monkeypatch.setattr("preprocess.images.is_readable", lambda _: False)
    data = heic(picture()) if name == "HEIF" else b"\xff\x0a" + bytes(40)
    remedy = {"HEIF": r"the extra \[heif\]", "JPEG XL": "pip install pillow-jxl-plugin"}[name]
    with pytest.raises(ImageError, match=f"{name} is not read; {remedy} reads them"):
        decode(data)


def test_a_broken_plugin_is_told_as_such(tmp_path, monkeypatch):
    data = heic(picture())
    (tmp_path / "pillow_heif.py").write_text("raise ImportError('libheif.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pillow_heif")
    images._plugin.cache_clear()
    broken = r"it needs pillow-heif \(pillow_heif\), which is installed but does not import \(libheif\.so\.1: no such"
    with pytest.raises(ImageError, match=f"HEIF is not read, because its plugin cannot be loaded: {broken}"):
        decode(data)


def test_a_folder_of_photos_of_a_phone_becomes_a_store(tmp_path):
    for split in ("train", "test"):
        for name, colour in (("a", RED), ("b", GREEN)):
            (tmp_path / "raw" / split / name).mkdir(parents=True)
            image = picture()
            image.paste(colour, (0, 0, 20, 20))
            (tmp_path / "raw" / split / name / "IMG_0001.HEIC").write_bytes(heic(image))
    store = build_here(tmp_path / "raw", tmp_path / "x.h5")
    assert store.keys("train") == ["train/a/IMG_0001.HEIC", "train/b/IMG_0001.HEIC"]
    corners = store.images("train", [0, 1])[:, 0, 0].astype(int)
    assert abs(corners - [RED, GREEN]).max() < 8


def jpeg_xl(*fields: tuple[int, int], boxed: bool = False) -> bytes:
    """The start of a JPEG XL: fields of (bits, value), the lowest bit first."""
    header = place = 0
    for bits, value in fields:
        header |= value << place
        place += bits
    code = b"\xff\x0a" + header.to_bytes(14, "little")
    if not boxed:
        return code
    boxes = [(b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl "), (b"jxlp", bytes(4) + code)]
    return b"".join(struct.pack(">I", 8 + len(content)) + kind + content for kind, content in boxes)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ([(1, 0), (2, 3), (30, 99_999), (3, 1)], "100000x100000"),
        ([(1, 0), (2, 2), (18, 19_999), (3, 5)], "35555x20000"),
        ([(1, 0), (2, 1), (13, 4095), (3, 0), (2, 3), (30, 999_999)], "1000000x4096"),
    ],
)
def test_a_jpeg_xl_is_refused_by_the_size_in_its_header(fields, size, boxed, monkeypatch):
    monkeypatch.setattr("preprocess.images.is_readable", lambda _: True)
    with pytest.raises(ImageError, match=f"too many pixels: {size}"):
        decode(jpeg_xl(*fields, boxed=boxed))


@pytest.mark.parametrize("lossless", [False, True])
def test_a_jpeg_xl_is_read_where_its_plugin_is_installed(lossless):
    pytest.importorskip("pillow_jxl")
    buffer = io.BytesIO()
    picture().save(buffer, "JXL", lossless=lossless)
    most = 0 if lossless else 60
    assert abs(np.asarray(decode(buffer.getvalue())).astype(int) - np.asarray(picture())).max() <= most
