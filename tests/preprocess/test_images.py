"""The traps of image files, one small file each."""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, features

from preprocess import images
from preprocess.errors import ImageError
from preprocess.images import FORMATS, decode, decode_source, decode_stored, encode_jpeg, fit
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
def test_of_sixteen_bits_the_upper_eight_are_kept(form):
    picture = Image.fromarray(np.array([[0, 255, 256, 32896, 65535]], np.uint16))
    assert pixels(coded(picture, form)) == [[[value] * 3 for value in (0, 0, 1, 128, 255)]]


@pytest.mark.parametrize("name", ["grey.png", "colour.png", "grey.tiff", "grey.pgm", "alpha.png"])
def test_sixteen_bits_become_what_opencv_makes_of_them(name):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    colour = np.stack([values, values[::-1], values.T], 2)
    picture = {"grey": values, "colour": colour, "alpha": np.dstack([colour, np.full_like(values, 65535)])}
    written, code = cv2.imencode(f".{name.split('.')[1]}", picture[name.split(".")[0]])
    assert written
    expected = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(np.asarray(decode(code.tobytes())), expected)


def test_sixteen_bit_colour_of_a_tiff_is_within_one_of_opencv():
    colour = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), np.uint16)
    code = cv2.imencode(".tiff", colour)[1]  # OpenCV rounds these, and cuts all others; Pillow gives the upper 8 bits
    expected = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB).astype(int)
    assert abs(np.asarray(decode(code.tobytes())) - expected).max() == 1


def tiff(values: np.ndarray, photometric: int, planes: int = 1) -> bytes:
    """An uncompressed TIFF by hand: one strip a plane, or one strip of all."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else values.shape[2]
    strips = [values] if planes == 1 else [values[..., plane] for plane in range(samples)]
    size = strips[0].nbytes
    kind = 3 if values.dtype.kind == "f" else 1
    depth = values.itemsize * 8
    tags = {256: [width], 257: [height], 258: [depth] * samples, 259: [1], 262: [photometric]}
    tags |= {273: [0] * len(strips), 277: [samples], 278: [height], 279: [size] * len(strips)}
    tags |= {284: [planes], 339: [kind] * samples}
    after = 8 + 2 + 12 * len(tags) + 4
    extra, entries, starts = b"", b"", after + sum(4 * len(entry) for entry in tags.values() if len(entry) > 1)
    tags[273] = [starts + number * size for number in range(len(strips))]
    for tag, entry in tags.items():
        packed = struct.pack(f"<{len(entry)}I", *entry)
        at = packed if len(entry) == 1 else struct.pack("<I", after + len(extra))
        extra += packed if len(entry) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(entry)) + at
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + extra
    return head + b"".join(strip.tobytes() for strip in strips)


def test_a_tiff_whose_zero_is_white_is_inverted_at_sixteen_bits_too():
    values = np.array([[0, 256, 65535]], np.uint16)
    assert pixels(tiff(values, 1)) == [[[0] * 3, [1] * 3, [255] * 3]]
    assert pixels(tiff(values, 0)) == [[[255] * 3, [254] * 3, [0] * 3]]


def test_a_tiff_of_which_pillow_makes_other_pixels_is_refused():
    colour = np.random.default_rng(0).integers(0, 65536, (9, 9, 3), np.uint16)
    assert pixels(tiff(colour, 2)) == (colour >> 8).tolist()
    with pytest.raises(ImageError, match="separate planes is not read; save it with"):
        decode(tiff(colour, 2, planes=2))
    eight = (colour >> 8).astype(np.uint8)
    assert pixels(tiff(eight, 2, planes=2)) == eight.tolist()


def pages(*kinds: int | None) -> bytes:
    """A TIFF with a page for each kind (the tag NewSubfileType)."""
    images = [noise(24 + 2 * number) for number in range(len(kinds))]
    for image, kind in zip(images, kinds, strict=True):
        image.encoderinfo = {"tiffinfo": {} if kind is None else {254: kind}}
    return coded(images[0], "TIFF", save_all=True, append_images=images[1:])


def test_a_tiff_that_begins_with_a_preview_is_refused():
    with pytest.raises(ImageError, match=r"a camera's raw file, or .*; export it as JPEG or TIFF, or move it away"):
        decode(pages(1, 0))
    for kinds in ((0, 1), (2, 2), (None, None), (1,)):  # a pyramid, pages, no kind, and one image of a pyramid alone
        assert decode(pages(*kinds)).size == (20, 24)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_further_frames_are_told_and_the_first_is_read(form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow is built without it")
    several = coded(noise(), form, save_all=True, append_images=[noise(24, 20).rotate(180)])
    assert decode_source(several).warned == ("of several frames or pages, the first alone is read",)
    one = coded(noise(), form)
    assert decode_source(one).warned == ()
    if form in ("GIF", "PNG"):  # without loss
        assert pixels(several) == pixels(one)


def test_further_pages_are_told_but_not_smaller_versions_and_masks():
    for kinds in ((0, 0), (2, 2), (None, None), (0, 1, 4, 0)):
        assert decode_source(pages(*kinds)).warned == ("of several frames or pages, the first alone is read",)
    for kinds in ((0, 1, 1), (0, 4), (None,)):
        assert decode_source(pages(*kinds)).warned == ()


def test_what_belongs_to_a_photo_is_no_further_frame():
    assert decode_source(coded(noise(), "MPO", save_all=True, append_images=[noise(12, 10)])).warned == ()


def test_damage_behind_the_first_frame_is_no_fault_of_it():
    several = coded(noise(), "GIF", save_all=True, append_images=[noise(24, 20).rotate(180)])
    assert pixels(several[: len(several) // 2 + 60]) == pixels(coded(noise(), "GIF"))


def test_raw_files_of_cameras_are_refused():
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    ifd[50706], ifd.tagtype[50706] = b"\1\4\0\0", 1  # the version of a DNG
    grey = coded(noise().convert("L"), "TIFF")
    canon = grey[:4] + struct.pack("<I4sI", 16, b"CR\2\0", 0) + grey[8:]
    for data in (coded(noise(), "TIFF", tiffinfo=ifd), coded(noise(), "TIFF", tiffinfo={254: 1, 330: 8}), canon):
        with pytest.raises(ImageError, match="a camera's raw file"):
            decode(data)


def test_floating_values_up_to_one_are_scaled_and_others_cut_off():
    row = np.array([[0, 0.5, 1, np.nan]], np.float32)
    assert pixels(tiff(row, 1)) == [[[value] * 3 for value in (0, 128, 255, 0)]]
    row = np.array([[-1, 0.5, 77.9, 1e9]], np.float32)
    assert pixels(tiff(row, 1)) == [[[value] * 3 for value in (0, 0, 77, 255)]]


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
        (coded(noise(), "JPEG")[:3], "a JPEG that is damaged"),
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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LONG = zlib.compress(bytes(3_000_000))
TEXTS = {
    "zTXt": chunk(b"zTXt", b"made by\0\0" + LONG),
    "iTXt": chunk(b"iTXt", b"made by\0\1\0\0\0" + LONG),
    "tEXt": chunk(b"tEXt", b"made by\0" + b"x" * 70_000_000),
    "many": chunk(b"zTXt", b"made by\0\0" + zlib.compress(bytes(1_000_000))) * 80,
    "profile": chunk(b"iCCP", b"name\0\0" + LONG),
}


@pytest.mark.parametrize(
    "odd",
    {
        "checksum of a text": chunk(b"tEXt", b"made by\0me")[:-1] + b"?",
        "checksum of a colour profile": chunk(b"iCCP", b"name\0\0" + LONG[:20])[:-1] + b"?",
        "checksum of an orientation": chunk(b"eXIf", exif_of(3).tobytes()[6:])[:-1] + b"?",
        "three bytes of resolution": chunk(b"pHYs", b"\0\0\1"),
        "unknown compression": chunk(b"zTXt", b"made by\0\7abc"),
        "short gamma": chunk(b"gAMA", b"\0"),
    }.items(),
    ids=lambda odd: odd[0],
)
def test_a_png_is_read_whatever_is_damaged_beside_its_pixels(odd):
    image = noise(8, 16)
    data = coded(image, "PNG")
    found = decode_source(data[:33] + odd[1] + data[33:])
    np.testing.assert_array_equal(np.asarray(found.image), np.asarray(image))
    assert found.warned == ("what a PNG holds beside its pixels is damaged or very long, and left out",)


def test_a_png_whose_size_is_damaged_is_refused():
    data = bytearray(coded(noise(), "PNG"))
    data[29] ^= 1  # of the checksum of its size
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_png_of_long_texts_is_read_upright(text, after):
    image = noise(8, 16)
    data = coded(image, "PNG", exif=exif_of(6))
    place = len(data) - 12 if after and text != "profile" else 33
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(np.asarray(decode(data[:place] + TEXTS[text] + data[place:])), expected)


def test_the_png_with_a_long_text_that_came_is_read():
    path = ROOT.parent / "shared" / "cases" / "big-ztxt.png"
    if not path.exists():
        pytest.skip("these inputs are not here")
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(np.asarray(decode(path.read_bytes())), expected)


def test_a_damaged_png_with_a_long_text_stays_damaged():
    data = coded(noise(), "PNG")
    with pytest.raises(ImageError, match="damaged"):
        decode(data[:33] + TEXTS["zTXt"] + data[33:-400])


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


def test_a_png_with_what_is_no_exif_is_read():
    whole = coded(noise(8, 8), "PNG")
    kind, text = b"eXIf", b"no EXIF"
    chunk = struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
    assert np.array_equal(decode(whole[:33] + chunk + whole[33:]), decode(whole))


def test_a_kind_that_pillow_does_not_read_is_not_called_no_image():
    values = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(ImageError, match=r"a TIFF that is damaged .* or of a kind that Pillow does not read"):
        decode(tiff(values, 2))


def dark_and_bright(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] //= 8
    return Image.fromarray(pixels)


@pytest.mark.parametrize("quality", [1, 50, 85, 95, 100])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (31, 64), (300, 17)])
def test_our_own_jpegs_are_decoded_with_opencv_to_the_pixels_of_pillow(monkeypatch, quality, height, width):
    code = encode_jpeg(dark_and_bright(height, width), quality)
    expected = np.asarray(Image.open(io.BytesIO(code)))
    images._own_decoder()
    monkeypatch.setattr(images, "_decode", None)
    np.testing.assert_array_equal(decode_stored(code, "jpeg", (height, width)), expected)


OTHERS = {
    "fewer colours": {"subsampling": 2},
    "progressive": {"progressive": True, "subsampling": 0},
    "its own tables": {"optimize": True, "subsampling": 0},
    "turned": {"subsampling": 0, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"},
    "a comment": {"subsampling": 0, "comment": b"x"},
    "resolution": {"subsampling": 0, "dpi": (300, 300)},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_jpegs_of_others_are_decoded_with_pillow(monkeypatch, options):
    buffer = io.BytesIO()
    dark_and_bright(24, 24).save(buffer, "JPEG", quality=95, **options)
    images._own_decoder()
    monkeypatch.setattr(cv2, "imdecode", None)
    found = decode_stored(buffer.getvalue(), "jpeg", (24, 24))
    np.testing.assert_array_equal(found, np.asarray(decode(buffer.getvalue())))


@pytest.mark.parametrize("opencv", [True, False])
def test_a_jpeg_with_a_mark_among_its_pixels_is_refused_with_opencv_too(monkeypatch, opencv):
    code = encode_jpeg(dark_and_bright(64, 64), 95)
    if not opencv:
        monkeypatch.setattr(images, "_own_decoder", lambda: (None, b""))
    with pytest.raises(ImageError, match="damaged: "):
        decode_stored(code[:3000] + b"\xff\xc0" + code[3000:], "jpeg", (64, 64))


def test_without_opencv_or_with_one_that_makes_other_pixels_pillow_decodes(monkeypatch):
    code = encode_jpeg(dark_and_bright(24, 24), 95)
    expected, imdecode = decode_stored(code, "jpeg", (24, 24)), cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *given: imdecode(*given) ^ 1)
    assert images._own_decoder.__wrapped__() == (None, b"")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert images._own_decoder.__wrapped__() == (None, b"")
    monkeypatch.setattr(images, "_own_decoder", lambda: (None, b""))
    np.testing.assert_array_equal(decode_stored(code, "jpeg", (24, 24)), expected)


@pytest.mark.parametrize("kept", [0, 30, 100, 622, 623, 700, -200])
def test_a_jpeg_of_ours_that_was_cut_is_refused(kept):
    with pytest.raises(ImageError):
        decode_stored(encode_jpeg(dark_and_bright(24, 24), 95)[:kept], "jpeg", (24, 24))


def test_a_jpeg_of_ours_of_another_size_is_refused():
    with pytest.raises(ImageError, match="expected 24x16 pixels, got 24x24"):
        decode_stored(encode_jpeg(dark_and_bright(24, 24), 95), "jpeg", (16, 24))
