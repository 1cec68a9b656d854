"""Decode source files to upright RGB uint8 pixels at the stored size, and encode them for the store.

All special cases of image files are handled here.
"""

import contextlib
import ctypes
import io
import logging
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from preprocess.errors import ImageError
from preprocess.extras import explain
from preprocess.formats import FORMATS, HEAD, PLUGINS, format_of, is_readable, remedy_of
from preprocess.suspicious import CLIPPED, FAINT, FLOAT, LEAST_OF_RANGE, RANGE, judge
from preprocess.text import shown_name
from preprocess.warned import listen, listening, warn

LARGEST_FILE = 1 << 30  # bytes: more than the largest image within Pillow's limit of pixels takes uncompressed
RESIZES = ("squash", "short", "none")
CODECS = ("raw", "jpeg", "png")
_LONGEST_JPEG = 65500
_MOST_SCANS = 100  # of a JPEG: encoders write up to 20, and a file of a megabyte can ask for 70,000
_SCAN_BYTES = 1 << 14  # in which a mark of a scan may appear by chance, as in a film behind a photo
# Of a JPEG by libjpeg: the start of its scan, how long it is, and its end; the tables of its quality, and its sides.
_SCAN, _SCAN_HEAD, _END = b"\xff\xda", 14, b"\xff\xd9"
_TABLES, _SIDES, _OWN_HEAD = (slice(25, 89), slice(94, 158)), slice(163, 167), 623
_MOST_PROFILES, _SMALL = 8, 1 << 20  # of a PNG; bytes of a file that takes seconds at most
_BITS, _INVERTED, _PLANES, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 284, 322, 323  # tags of TIFF
_KIND, _MORE_IMAGES, _DNG = 254, 330, 50706
_CR2 = b"II*\0\x10\0\0\0CR"  # how raw files of Canon begin
_REDUCED = (1, 3, 5, 7)  # the kinds that are a smaller version of another image
_PAGES, _MOST_PAGES = (None, 0, 2), 20  # the kinds that are an image of their own; how many are looked at
_MOVING = ("GIF", "WEBP", "PNG", "AVIF")  # in MPO and HEIF, what comes behind the first are versions of it
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # chunks of a PNG

# What Pillow and libtiff have to say about a damaged file quotes it, and would go to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
with contextlib.suppress(AttributeError, OSError):  # where libtiff is linked otherwise
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Source:
    """A decoded image file, and what is odd about it."""

    image: Image.Image  # mode RGB
    suspicious: int  # the bits of :mod:`preprocess.suspicious`
    warned: tuple[str, ...]  # the kinds of warnings that the decoder gave


def decode(data: bytes, banner: int = 0) -> Image.Image:
    """Decode one image file to upright RGB.

    Parameters
    ----------
    data : the bytes of the file, of one of ``FORMATS``, or of HEIF or JPEG XL where a plugin of Pillow is installed.
        Its magic bytes decide the format, not its name. Of animations and pages, the first is taken; of several images
        in a HEIF, the primary one.
    banner : rows of pixels to crop off its bottom.

    Returns
    -------
    Image in mode RGB with orientation applied and transparency on white. Of 16 bits the upper 8 are kept, as by OpenCV.
    Floating values from 0 to 1 are scaled to 255, others cut off at 0 and 255.

    Raises
    ------
    ImageError : empty, truncated, not an image, of another format, the preview of a raw file, above Pillow's
        decompression bomb limit, or not higher than the banner.
    """
    return decode_source(data, banner).image


def decode_source(data: bytes, banner: int = 0) -> Source:
    """Decode an image file as :func:`decode`, and judge what it shows."""
    with listening() as said:
        image, suspicious = _read(data)
    width, height = image.size
    if height <= banner:
        raise ImageError(f"{width}x{height} pixels: nothing is left without the banner, the lowest {banner} rows")
    if banner:
        image = image.crop((0, 0, width, height - banner))
    return Source(image, suspicious | judge(image), tuple(said))


def decode_stored(code: bytes, codec: str, size: tuple[int, int]) -> np.ndarray:
    """Decode an image of a store. Its header is compared with what the store says before any pixel is decoded.

    Parameters
    ----------
    code : an image file.
    codec : ``jpeg`` or ``png``.
    size : its (H, W).

    Returns
    -------
    (H, W, 3) uint8 array.

    Raises
    ------
    ImageError : another format or size, or damaged.
    """
    if codec == "jpeg" and (own := _decode_own(code, size)) is not None:
        return own
    with listening():
        pixels = np.asarray(_decode(code, (codec.upper(),), size)[0])
    if pixels.shape[:2] != size:
        raise ImageError(f"expected {size[1]}x{size[0]} pixels, got {pixels.shape[1]}x{pixels.shape[0]}")
    return pixels


def _decode_own(code: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """Decode a JPEG that :func:`encode_jpeg` wrote with OpenCV, which takes two thirds of the time; None: with Pillow.

    Files of others may have subsampled colours, of which the two make other pixels, or EXIF data.
    """
    cv2, head = _own_decoder()
    if cv2 is None:
        return None
    own = bytearray(head)
    for part in _TABLES:
        own[part] = code[part]
    own[_SIDES] = struct.pack(">HH", *size) if max(size) <= _LONGEST_JPEG else b""
    if not (code.startswith(own) and code.endswith(_END)):  # Pillow says what is wrong
        return None
    scan = np.frombuffer(code, np.uint8)[_OWN_HEAD:-1]
    if scan[1:][scan[:-1] == 255].any():  # a mark where we write none: OpenCV leaves grey what comes behind an odd one
        return None
    return cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_COLOR_RGB)


@cache
def _own_decoder() -> tuple[Any, bytes]:
    """OpenCV, and how our JPEGs begin; None where it is missing, or linked with another libjpeg than Pillow."""
    try:
        import cv2

        pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
        pixels[20:] = np.arange(56, dtype=np.uint8)[:, None]
        codes = [encode_jpeg(Image.fromarray(pixels), quality) for quality in (100, 95, 30)]
        for code in codes:
            found = cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_COLOR_RGB)
            if not np.array_equal(found, np.asarray(Image.open(io.BytesIO(code)))):
                return None, b""
    except (ImportError, AttributeError):  # OpenCV before 4.11 has no such flag
        return None, b""
    head = codes[0][: codes[0].index(_SCAN) + _SCAN_HEAD]
    as_expected = head[_SIDES] == struct.pack(">HH", 40, 56) and len(head) == _OWN_HEAD
    return (cv2, head) if as_expected else (None, b"")


def fit(image: Image.Image, size: int | None, resize: str = "squash") -> np.ndarray:
    """Resize a decoded image to the stored size.

    Parameters
    ----------
    image : mode RGB.
    size : side of the square, or short side, in pixels; None for ``none``.
    resize : ``squash`` resizes to a square and ignores the aspect ratio, like the papers' ``Resize((S, S))``; ``short``
        resizes the short side; ``none`` keeps the size.

    Returns
    -------
    (H, W, 3) uint8 array.

    Raises
    ------
    ImageError : too large at its stored size.
    """
    return np.asarray(_resized(image, _stored_size(image.size, size, resize)))


def encode(
    image: Image.Image, data: bytes, size: int | None, resize: str, codec: str, quality: int
) -> tuple[bytes, tuple[int, int]]:
    """Encode a decoded image for the store.

    Parameters
    ----------
    image, size, resize : as for :func:`fit`.
    data : the file that the image was decoded from; empty if the image is only a part of it.
    codec : ``jpeg`` or ``png``.
    quality : JPEG quality, 1 to 100.

    Returns
    -------
    An image file, and its (H, W). A JPEG that has the stored size already is kept, not encoded again.
    """
    width, height = target = _stored_size(image.size, size, resize)
    if codec == "jpeg" and data and image.size == target and _is_jpeg(data):
        return data, (height, width)
    if codec == "jpeg" and max(target) > _LONGEST_JPEG:
        raise ImageError(f"{width}x{height} pixels: JPEG allows {_LONGEST_JPEG} per side; --codec png has no limit")
    resized = _resized(image, target)
    return (encode_png(resized) if codec == "png" else encode_jpeg(resized, quality)), (height, width)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encode an RGB image as JPEG, without chroma subsampling because superpixels follow colour edges."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """Encode an RGB image as PNG, lossless and smaller than raw pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)  # 1 % larger than the default 6, in less than half the time
    return buffer.getvalue()


def _stored_size(image: tuple[int, int], size: int | None, resize: str) -> tuple[int, int]:
    width, height = image
    if resize == "squash":
        return size, size
    if resize == "none":
        return image
    short = min(image)
    width, height = round(width * size / short), round(height * size / short)
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(f"too many pixels: {image[0]}x{image[1]} would be stored as {width}x{height}")
    return width, height


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Pillow's bilinear filter widens when it shrinks, which avoids aliasing.
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


class _DamagedError(ImageError):
    """A file that Pillow refuses. The pixels of a PNG may be whole."""


def _read(data: bytes) -> tuple[Image.Image, int]:
    """Decode a source to RGB, with the bits of what is lost then."""
    try:
        return _decode(data, _formats(data))
    except _DamagedError:
        if format_of(data[:HEAD]) == "PNG":
            with contextlib.suppress(ImageError):
                found = _decode(_bare(data), ("PNG",))
                warn("what a PNG holds beside its pixels is damaged or very long, and left out")
                return found
        raise


def _formats(data: bytes) -> Sequence[str]:
    found = format_of(data[:HEAD])
    if found not in PLUGINS or not is_readable(found):
        return FORMATS
    if found == "JPEG XL":  # its plugin decodes before it says how large the image is
        _refuse_size(*_jpeg_xl_size(data))
    return (_plugin(found),)


def _jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of a JPEG XL, ISO/IEC 18181-1."""
    place = 0
    try:
        while not data.startswith(b"\xff\x0a", place):  # boxes of 18181-2 around the codestream
            length, kind = struct.unpack_from(">I4s", data, place)
            head = 16 if length == 1 else 8
            if kind in (b"jxlc", b"jxlp"):
                place += head + 4 * (kind == b"jxlp")
                break
            place += max(length, head)
        header = int.from_bytes(data[place + 2 : place + 16], "little")
    except struct.error:
        raise ImageError("damaged: a JPEG XL without an image") from None

    def bits(count: int) -> int:
        nonlocal header
        value, header = header & ((1 << count) - 1), header >> count
        return value

    small = bits(1)

    def side() -> int:
        return 8 * (bits(5) + 1) if small else bits((9, 13, 18, 30)[bits(2)]) + 1

    height = side()
    if ratio := bits(3):
        over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * over // under, height
    return side(), height


@cache
def _plugin(name: str) -> str:
    """Load the plugin for a format; return its name in Pillow's registry."""
    try:
        if name == "JPEG XL":
            import pillow_jxl  # noqa: F401 - registers itself

            listen()
            return "JXL"
        try:
            import pillow_heif as heif
        except ModuleNotFoundError as error:
            if error.name != "pillow_heif":
                raise
            import pi_heif as heif
        heif.register_heif_opener()
    except Exception as error:  # a library that it needs is missing
        why = explain(error, what="it") or error
        raise ImageError(f"{name} is not read, because its plugin cannot be loaded: {why}") from None
    return "HEIF"


def _decode(data: bytes, formats: Sequence[str], size: tuple[int, int] | None = None) -> tuple[Image.Image, int]:
    if not data:
        raise ImageError("the file is empty")
    try:
        with _open(data, formats) as image:
            if size is not None and sorted(image.size) != sorted(size):  # a JPEG that was kept may lie on its side
                raise ImageError(f"expected {size[1]}x{size[0]} pixels, got {image.width}x{image.height}")
            _refuse_bombs(image, data)
            _refuse_previews(image, data)
            image.load()
            eight, suspicious = _to_eight_bits(image)
            found = _to_rgb(_upright(eight, image)), suspicious | FAINT * _is_faint(eight)
            _warn_of_more(image)
            return found
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise _DamagedError(_unknown(data)) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from None
    except MemoryError:
        raise ImageError("there is not enough memory to decode it") from None
    except Exception as error:  # decoders of damaged files raise OSError, struct.error, TypeError, RuntimeError, ...
        raise _DamagedError(f"damaged: {shown_name(str(error))}") from None


def _bare(data: bytes) -> bytes:
    """A PNG without what it holds beside its pixels, but for its orientation."""
    view, parts, place = memoryview(data), [data[:8]], 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunk = view[place : place + length + 12]
        if kind in _PIXELS or (kind == b"eXIf" and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])):
            parts.append(chunk)
        place += length + 12
    return b"".join(parts)


def _refuse_bombs(image: Image.Image, data: bytes) -> None:
    """Refuse a small file that takes minutes or gigabytes to decode, and one of which Pillow makes other pixels."""
    width, height = image.size
    if image.format == "TIFF":  # whole tiles are decoded, whatever the size of the image
        width = max(width, image.tag_v2.get(_TILE_WIDTH, 0))
        height = max(height, image.tag_v2.get(_TILE_LENGTH, 0))
        if image.tag_v2.get(_PLANES) == 2 and 16 in np.atleast_1d(image.tag_v2.get(_BITS, 8)):
            raise ImageError("a TIFF of 16 bits in separate planes is not read; save it with interleaved channels")
    _refuse_size(width, height)
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MOST_SCANS + len(data) // _SCAN_BYTES:
        raise ImageError(f"damaged: a JPEG of more than {_MOST_SCANS} scans")


def _refuse_previews(image: Image.Image, data: bytes) -> None:
    """Refuse a TIFF whose first image is a thumbnail of another: most raw files of cameras are such."""
    if image.format != "TIFF":
        return
    more = _MORE_IMAGES in image.tag_v2 or image.is_animated
    if _DNG in image.tag_v2 or data.startswith(_CR2) or (image.tag_v2.get(_KIND) in _REDUCED and more):
        raise ImageError(
            "a camera's raw file, or a TIFF like it: only its preview would be read; export it as JPEG or TIFF, or "
            "move it away"
        )


def _refuse_size(width: int, height: int) -> None:
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(f"too many pixels: {width}x{height}, at most {Image.MAX_IMAGE_PIXELS:,} are read")


def _open(data: bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    if data.startswith(b"\x89PNG") and len(data) > _SMALL and data.count(b"iCCP") > _MOST_PROFILES:
        raise ImageError("damaged: a PNG of many colour profiles")  # Pillow unpacks a megabyte for each
    _prepare()
    return Image.open(io.BytesIO(data), formats=[name for name in formats if name in Image.OPEN])


@cache
def _prepare() -> None:
    Image.init()
    listen()


def _unknown(data: bytes) -> str:
    """Say why no format fits, with the name of the format if its first bytes are known."""
    found = format_of(data[:HEAD])
    if not found:
        what = "not an image file, or damaged in its first bytes"
    elif is_readable(found):  # but its decoder finds no image in it
        what = f"a {found} that is damaged in its first bytes, or of a kind that Pillow does not read"
    else:
        what = "; ".join(filter(None, (f"{found} is not read", remedy_of(found))))
    return f"{what}; formats: {', '.join(FORMATS)}"


def to_rgb(image: Image.Image) -> Image.Image:
    """Make an image of Pillow what :func:`decode` returns for its file: upright, in mode RGB.

    Raises
    ------
    ImageError : it cannot be loaded.
    """
    try:
        return _to_rgb(_upright(image, image))
    except Exception as error:  # a lazy image of a damaged file raises many types
        raise ImageError(f"damaged: {shown_name(str(error))}") from None


def _is_jpeg(data: bytes) -> bool:
    if format_of(data[:HEAD]) != "JPEG":
        return False
    with listening(), _open(data) as image:
        return image.format == "JPEG"


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    # Decoders of these turn them, and what EXIF says has no meaning there; but a JPEG inside a JPEG XL comes as it is.
    if source.format in ("HEIF", "JXL") and not getattr(source, "jpeg", False):
        return image
    # ImageOps.exif_transpose also rewrites the EXIF data, which fails on malformed entries of some cameras.
    try:
        turn = _TURNS.get(source.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of a PNG, with what is no EXIF: its pixels are whole
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """Bring values of more bits to 8; return also the bits of what is suspicious about them."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        if values.min() >= 0 and values.max() <= 1:
            values = (values * 255).round()
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)), FLOAT
    if not (image.mode.startswith("I;16") or image.mode == "I"):
        return image, 0
    # Pillow clips 16-bit values at 255; a 16-bit PNG or TIFF opens as I;16 or I.
    values = np.asarray(image)
    grey = (np.clip(values, 0, 65535) >> 8).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(_INVERTED) == 0:  # Pillow inverts 8 bits only
        grey = 255 - grey
    grey[values == image.info.get("transparency", -1)] = 255  # the one transparent value, on white
    least, most = int(values.min()), int(values.max())
    clipped = CLIPPED * (least < 0 or most > 65535)
    return Image.fromarray(grey), clipped | RANGE * (0 < most < 65536 // LEAST_OF_RANGE)


def _warn_of_more(image: Image.Image) -> None:
    """Warn of pages and frames behind the first, which nobody reads."""
    with contextlib.suppress(Exception):  # damage there, and the end of the pages
        more = image.format in _MOVING and image.is_animated
        for number in range(1, _MOST_PAGES if image.format == "TIFF" and image.is_animated else 0):
            image.seek(number)
            if more := image.tag_v2.get(_KIND) in _PAGES:
                break
        if more:
            warn("of several frames or pages, the first alone is read")


def _is_faint(image: Image.Image) -> bool:
    """Whether no pixel is more than a quarter opaque, as of 12 bits in 16; all is white then."""
    return image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema()[1] < 256 // LEAST_OF_RANGE


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image)
        image = canvas
    image = image.convert("RGB")
    image.info.clear()  # encoders would copy comments and profiles, or fail on them
    return image
