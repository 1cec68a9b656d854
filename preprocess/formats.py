"""What a file is: the names of image formats, by the first bytes of a file and by its suffix, and who reads them."""

import re
from functools import cache
from importlib.util import find_spec

from preprocess.extras import install

# The formats of data sets, by Pillow's names; JPEG includes MPO. Others start a program (EPS), open an image of any
# format inside (IPTC), or are stubs. The one without magic bytes comes last.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA")
PLUGINS = ("HEIF", "JPEG XL")  # formats that plugins of Pillow read
HEAD = 132  # bytes at the start of a file that tell its format; the mark of DICOM comes last
_READERS = {  # modules of which one is needed; Pillow may be built without its own
    "HEIF": ("pillow_heif", "pi_heif"),
    "JPEG XL": ("pillow_jxl",),
    "WEBP": ("PIL._webp",),
    "AVIF": ("PIL._avif",),
}
_REMEDIES = {
    "JPEG XL": "pip install pillow-jxl-plugin reads them",
    "AVIF": "pip install --upgrade pillow reads them",
    "Git LFS pointer": "git lfs pull fetches the files that they stand for",
}
_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp .dib",
    "TIFF": ".tif .tiff",
    "PPM": ".ppm .pgm .pbm .pnm .pfm",
    "JPEG2000": ".jp2 .j2k .jpc .jpf .jpx .j2c",
    "AVIF": ".avif .avifs",
    "TGA": ".tga .icb .vda",  # not .vst, which are drawings of Visio
    "HEIF": ".heic .heif .hif .heics .heifs",
    "JPEG XL": ".jxl",
}
_MAGIC = (  # how files begin, and their format; those that are called images although they are none, too
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),  # with the size of a header that Pillow knows
    (rb"II\*\0|MM\0\*|MM\*\0|II\0\*|MM\0\+|II\+\0", "TIFF"),  # also BigTIFF, and two common faults
    # Width and height, and where there is one the largest value; comments may stand between and go on for long.
    (rb"P[14]\s+(\d+\s+\d+\s|#)|P[2356]\s+(\d+\s+\d+\s+(\d+\s|#)|\d+\s+#|#)|Pf\s+\d+\s+\d+\s+[-+]?[\d.]+", "PPM"),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (rb"....ftyp(avi[fs]|(mif1|msf1|miaf)....(....)*?avi[fs])", "AVIF"),
    (rb"....ftyp(he[a-z][a-z]|mif[12]|msf1|miaf)", "HEIF"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
    (rb"\s*%PDF", "PDF"),
    (rb"(\xef\xbb\xbf)?\s*<(!DOCTYPE|!--|\?xml|[a-zA-Z][\w:]*[\s/>])", "HTML, XML or SVG"),
    (rb"\x89HDF\r\n\x1a\n", "HDF5"),
    (rb"\0\0\x01[\xb3\xba]", "MPEG"),
    (rb"....ftyp", "MP4 or QuickTime"),
    (rb"RIFF....AVI ", "AVI"),
    (rb"8BPS", "PSD"),
    (rb"DDS ", "DDS"),
    (rb"qoif", "QOI"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "ICO"),
    (rb"\xd7\xcd\xc6\x9a", "WMF"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"#\?RADIANCE", "Radiance HDR"),
    (rb"SIMPLE  = ", "FITS"),
    (rb".{128}DICM", "DICOM"),
    (rb"\x93NUMPY", "NumPy"),
    (rb"PK\x03\x04", "ZIP"),
    (rb"\x1f\x8b\x08", "gzip"),
    (rb"version https://git-lfs", "Git LFS pointer"),
)


def format_of(head: bytes) -> str:
    """Name the format of a file.

    Parameters
    ----------
    head : its first ``HEAD`` bytes, or all if it is shorter.

    Returns
    -------
    One of ``FORMATS`` or ``PLUGINS``; or what only looks like an image, such as PDF; empty if its first bytes say
    nothing, as those of TGA and of text.
    """
    found = _matcher().match(head[:HEAD])
    return _MAGIC[int(found.lastgroup[1:])][1] if found else ""


@cache
def is_readable(name: str) -> bool:
    """Whether files of a format can be decoded here. No plugin is imported for the answer."""
    if name in _READERS:
        return any(find_spec(module) for module in _READERS[name])
    return name in FORMATS


def remedy_of(name: str) -> str:
    """What makes files of a format readable, as ``pip install --upgrade pillow reads them``; empty if nothing does."""
    return f"the extra [heif] reads them: {install('heif')}" if name == "HEIF" else _REMEDIES.get(name, "")


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of readable image files, in lower case with the dot."""
    return frozenset(" ".join(text for name, text in _SUFFIXES.items() if is_readable(name)).split())


@cache
def _matcher() -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?P<f%d>%s)" % (place, form) for place, (form, _) in enumerate(_MAGIC)), re.DOTALL)
