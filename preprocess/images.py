"""Bytes of a source file -> upright RGB uint8 pixels at the stored size, and the codecs of the store.

The one place that knows the traps of image files.
"""

import io
import warnings

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from preprocess.errors import ImageError

RESIZES = ("squash",)
CODECS = ("raw", "jpeg")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes) -> Image.Image:
    """Decode one image file to upright RGB.

    Parameters
    ----------
    data : the whole file. The format is found by its magic bytes, never by its name.

    Returns
    -------
    Image in mode RGB, EXIF orientation applied; transparency is laid on white; 16-bit greyscale is scaled to 8 bits.

    Raises
    ------
    ImageError : empty, truncated, not an image, or larger than Pillow's limit against decompression bombs.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                return _to_rgb(_upright(image))
    except UnidentifiedImageError:
        raise ImageError("not an image file that Pillow knows") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too many pixels: {error}") from None
    except Exception as error:  # damage makes decoders raise anything: OSError, struct.error, TypeError, RuntimeError
        raise ImageError(f"damaged: {error}") from None


def load(data: bytes, size: int) -> np.ndarray:
    """Decode an image file and squash it to the stored size.

    Parameters
    ----------
    data : the whole file.
    size : side of the stored square, in pixels. Aspect ratio is given up, as in the papers' ``Resize((S, S))``.

    Returns
    -------
    (size, size, 3) uint8 array.
    """
    image = decode(data)
    if image.size != (size, size):
        # Pillow's bilinear filter widens with the reduction, so that shrinking does not alias.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Code (H, W, 3) uint8 pixels as JPEG without chroma subsampling (colour edges carry superpixels)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the EXIF data anew, and fails where a camera left an odd entry.
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow's own conversion clips 16-bit values at 255; a 16-bit PNG or TIFF opens as I;16 or I.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(values, 0, 65535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image)
        image = canvas
    return image.convert("RGB")
