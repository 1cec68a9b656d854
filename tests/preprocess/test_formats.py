"""Formats by first bytes, against Pillow's own registry and files that it writes."""

import io
import random
import struct

import pytest
from PIL import Image, features

from preprocess.formats import FORMATS, HEAD, PLUGINS, format_of, is_readable, remedy_of, suffixes


def heads(form: str) -> list[bytes]:
    """The first bytes of files of one format in several modes, written by Pillow."""
    found = []
    for mode in ("RGB", "L", "1"):
        buffer = io.BytesIO()
        try:
            Image.new(mode, (300, 200)).save(buffer, form)
        except OSError:  # this format has no such mode
            continue
        found.append(buffer.getvalue()[:HEAD])
    return found


@pytest.mark.parametrize("form", sorted({*FORMATS} - {"TGA", "AVIF", "WEBP"}))
def test_files_that_pillow_writes_are_recognised(form):
    assert {format_of(head) for head in heads(form)} == {form}
    assert is_readable(form)


@pytest.mark.parametrize("form", ["AVIF", "WEBP"])
def test_so_are_those_that_pillow_may_be_built_without(form):
    if not features.check(form.lower()):
        pytest.skip(f"this Pillow has no {form}")
    assert {format_of(head) for head in heads(form)} == {form}
    assert is_readable(form)
    assert f".{form.lower()}" in suffixes()


def test_a_tga_has_no_first_bytes_of_its_own():
    assert {format_of(head) for head in heads("TGA")} == {""}


def box(major: bytes, *others: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(40)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"P5\n# made by hand\n3 2\n255\n", "PPM"),
        (b"P6 640\t480 65535\n", "PPM"),
        (b"P4\n8 8\n", "PPM"),
        (b"Pf\n3 2\n-1.0\n", "PPM"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG2000"),
        (box(b"heic", b"mif1", b"heic"), "HEIF"),
        (box(b"mif1", b"mif1", b"heic"), "HEIF"),
        (box(b"hevc", b"msf1"), "HEIF"),
        (box(b"mif1", b"miaf", b"avif"), "AVIF"),
        (box(b"isom", b"mp41"), "MP4 or QuickTime"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
        (b"\0\0\x01\xba\x44", "MPEG"),
        (b"\n <svg xmlns=", "HTML, XML or SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "HTML, XML or SVG"),
        (b"\0\0\x01\0\x02\0\x10\x10", "ICO"),
        (bytes(128) + b"DICM\x02\0", "DICOM"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"),
    ],
)
def test_first_bytes_are_named(head, name):
    assert format_of(head[:HEAD]) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM",
        b"BMW 2002 tii, a car of which many photographs exist",
        b"P6",
        b"P3 is a part of the motorway",
        b"P5 2022 was a good year",
        b"path,label\na/1.jpg,0\n",
        b"<3 cats and 4 dogs",
        b"GIF is a format",
        b"RIFF0000WAVEfmt ",
        b"\xef\xbb\xbfpath\tlabel\n",
        bytes(HEAD),
    ],
)
def test_text_that_begins_like_an_image_is_none(head):
    assert format_of(head) == ""


def test_random_bytes_are_no_images():
    draw = random.Random(0)
    named = [name for name in (format_of(draw.randbytes(HEAD)) for _ in range(100_000)) if name]
    assert len(named) < 10  # JPEG XL has a mark of two bytes
    assert not {*named} & {*FORMATS}


def test_suffixes_are_those_of_pillow_for_the_formats_that_are_read():
    Image.init()
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO", "DIB")}
    plugins = {suffix for suffix in suffixes() if suffix.startswith((".he", ".hi", ".jxl"))}
    assert suffixes() - plugins == registered - {".vst"}
    assert not suffixes() & {".pdf", ".h5", ".mpg", ".eps", ".svg", ""}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_decides_what_is_read(name, monkeypatch):
    known = {"HEIF": ".heic", "JPEG XL": ".jxl"}
    monkeypatch.setattr("preprocess.formats.find_spec", {"pi_heif": 1, "pillow_jxl": 1}.get)
    for cached in (is_readable, suffixes):
        cached.cache_clear()
    assert is_readable(name)
    assert known[name] in suffixes()
    monkeypatch.setattr("preprocess.formats.find_spec", {}.get)
    for cached in (is_readable, suffixes):
        cached.cache_clear()
    assert not is_readable(name)
    assert known[name] not in suffixes()
    assert "pip install" in remedy_of(name)


@pytest.fixture(autouse=True)
def _forget():
    yield
    is_readable.cache_clear()
    suffixes.cache_clear()


def test_what_no_plugin_reads_has_no_remedy():
    assert not is_readable("PDF")
    assert (remedy_of("PDF"), remedy_of("")) == ("", "")
