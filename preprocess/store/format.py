"""What all files of a store share: the user block, content keys and checksums.

Every file is an HDF5 file behind a text user block of 512 bytes, which HDF5 tools skip. The user block holds the
SHA-256 of everything after it, so a single flipped bit is found without any other file.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocess.errors import StoreError
from preprocess.inputs import open_regular

try:  # the same results; a checksum takes a tenth, unpacking a half of the time
    from zlib_ng import zlib_ng as zlib
except ImportError:  # reading a store needs no extra
    import zlib

FORMAT_VERSION = 2
HEADER_BYTES = 512
TILE = 256  # pixels: maps of varied sizes are stored in tiles, so that padding takes no space
IMAGES = "images"  # name of the column of images
_MAGIC = "LGCOAMix store"


def canonical(document: object) -> str:
    """Canonical JSON for hashing: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(document: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()[:16]


def seal(payload: bytes, kind: str) -> tuple[bytes, str]:
    """User block for an HDF5 file, and the hexadecimal SHA-256 in it.

    Parameters
    ----------
    payload : a complete HDF5 file without a user block.
    kind : ``"index"``, ``"shard"`` or ``"pack"``.
    """
    digest = hashlib.sha256(payload).hexdigest()
    return header_of(kind, digest), digest


def header_of(kind: str, digest: str) -> bytes:
    """User block of a file: its kind, the format version, and the SHA-256 of everything after the block."""
    text = f"{_MAGIC} {kind}\nversion: {FORMAT_VERSION}\nsha256: {digest}\n"
    return text.encode().ljust(HEADER_BYTES, b"\0")


def check_header(header: bytes, kind: str, path: Path) -> str:
    """Check a user block and return the SHA-256 in it.

    Raises
    ------
    StoreError : not a file of a store, another kind, another format version, or a damaged block.
    """
    lines = header.rstrip(b"\0").decode("ascii", "replace").split("\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if len(header) != HEADER_BYTES or lines[0] != f"{_MAGIC} {kind}":
        raise StoreError(
            f"{path} is not a store {kind}, or its first bytes are damaged; build a store with: "
            "python -m lgcoamix preprocess build DATASET"
        )
    version, digest = fields.get("version", ""), fields.get("sha256", "")
    if version != str(FORMAT_VERSION) and version.isdigit():
        raise StoreError(
            f"{path} has store format version {version}, but this program reads version {FORMAT_VERSION}; "
            "rebuild the store, or use the program that wrote it"
        )
    if header != header_of(kind, digest):
        raise StoreError(f"{path} is damaged in its first {HEADER_BYTES} bytes")
    return digest


def kind_of(path: Path) -> str:
    """Kind of a store file; empty if the file is missing or not from a store."""
    try:
        with open_regular(path) as file:
            first = file.readline(HEADER_BYTES).decode("ascii", "replace").rstrip("\n")
    except OSError:
        return ""
    return first.removeprefix(f"{_MAGIC} ") if first.startswith(_MAGIC) else ""


def check_file(path: Path, kind: str) -> tuple[int, str]:
    """Read a complete file of a store and compare it with the digest in its user block.

    Returns
    -------
    Size in bytes and SHA-256 of the payload.

    Raises
    ------
    StoreError : missing, not from a store, or damaged.
    """
    try:
        with open_regular(path) as file:
            stated = check_header(file.read(HEADER_BYTES), kind, path)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if found != stated:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest")
    return size, found


def image_checksum(stored: bytes | memoryview | np.ndarray, label: int, key: bytes) -> int:
    """CRC-32 of an image's stored bytes (raw pixels or encoded file), label and key."""
    return zlib.crc32(key, zlib.crc32(int(label).to_bytes(4, "little", signed=True), zlib.crc32(stored)))


def listing_checksum(*columns: np.ndarray) -> np.uint32:
    """CRC-32 of all labels, keys, source digests, boxes and suspicions of a shard, for readers that skip the images."""
    checksum = 0
    for values in columns:
        checksum = zlib.crc32(np.ascontiguousarray(values).tobytes(), checksum)
    return np.uint32(checksum)


def padded_boxes(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Pad the (m_i, 4) boxes of n images with NaN to one (n, m, 4) float32 array, where m is the largest m_i."""
    padded = np.full((len(boxes), max(map(len, boxes), default=0), 4), np.nan, np.float32)
    for row, mine in enumerate(boxes):
        padded[row, : len(mine)] = mine
    return padded


def map_checksum(stored: bytes | memoryview | np.ndarray) -> int:
    """CRC-32 of the ids of one map."""
    return zlib.crc32(stored)


def inflate(packed: bytes | np.ndarray, size: int) -> bytes:
    """Unpack the ids of a map or tile, but never more than a byte above ``size``, whatever somebody else has packed."""
    return zlib.decompressobj().decompress(packed, size + 1)


def most_packed(size: int) -> int:
    """Largest number of bytes to which an encoder packs ``size``: the bound of zlib for any window and memory."""
    return size + -(-size // 8) + -(-size // 64) + 11
