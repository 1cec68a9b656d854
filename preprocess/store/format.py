"""What every file of a store has in common: the sealed envelope, identity keys, checksums.

A file of a store is an HDF5 file behind a user block of 512 bytes (which HDF5 tools skip). The user block is text and
holds the SHA-256 of all that follows, so each file proves itself, and one flipped bit anywhere is found.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocess.errors import StoreError

FORMAT_VERSION = 2
HEADER_BYTES = 512
_MAGIC = "LGCOAMix store"


def canonical(document: object) -> str:
    """Write plain data as JSON in the one form that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(document: object) -> str:
    """Name plain data by the first 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()[:16]


def seal(payload: bytes, kind: str) -> tuple[bytes, str]:
    """Return the user block for an HDF5 image and the hexadecimal SHA-256 that it states.

    Parameters
    ----------
    payload : a complete HDF5 file without user block.
    kind : ``"index"``, ``"shard"`` or ``"pack"``.
    """
    digest = hashlib.sha256(payload).hexdigest()
    return header_of(kind, digest), digest


def header_of(kind: str, digest: str) -> bytes:
    """The user block of a file: what it is, the version of the format, the SHA-256 of all that follows."""
    text = f"{_MAGIC} {kind}\nversion: {FORMAT_VERSION}\nsha256: {digest}\n"
    return text.encode().ljust(HEADER_BYTES, b"\0")


def check_header(header: bytes, kind: str, path: Path) -> str:
    """Read a user block and return the SHA-256 that it states.

    Raises
    ------
    StoreError : not a file of a store, another kind, another format version, or a damaged block.
    """
    lines = header.rstrip(b"\0").decode("ascii", "replace").split("\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if len(header) != HEADER_BYTES or lines[0] != f"{_MAGIC} {kind}":
        raise StoreError(
            f"{path} is not the {kind} of a store (or its first bytes are damaged); "
            f"make one with: python -m preprocess build"
        )
    version, digest = fields.get("version", ""), fields.get("sha256", "")
    if version != str(FORMAT_VERSION) and version.isdigit():
        raise StoreError(
            f"{path} has store format version {version}, this program reads version {FORMAT_VERSION}; "
            "build the store again, or use the program that wrote it"
        )
    if header != header_of(kind, digest):
        raise StoreError(f"{path} is damaged in its first {HEADER_BYTES} bytes")
    return digest


def kind_of(path: Path) -> str:
    """The kind that a file says it is; empty for a foreign or missing one."""
    try:
        with path.open("rb") as file:
            first = file.readline(HEADER_BYTES).decode("ascii", "replace").rstrip("\n")
    except OSError:
        return ""
    return first.removeprefix(f"{_MAGIC} ") if first.startswith(_MAGIC) else ""


def check_file(path: Path, kind: str) -> tuple[int, str]:
    """Read a whole file of a store and compare it with the digest in its user block.

    Returns
    -------
    Size in bytes and SHA-256 of the payload.

    Raises
    ------
    StoreError : missing, foreign, or not what was written.
    """
    try:
        with path.open("rb") as file:
            stated = check_header(file.read(HEADER_BYTES), kind, path)
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if found != stated:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest")
    return size, found


def image_checksum(stored: bytes | memoryview, label: int, key: bytes) -> int:
    """CRC-32 over what is stored of one image (raw pixels or its coded file), its label and its key."""
    return zlib.crc32(key, zlib.crc32(int(label).to_bytes(4, "little", signed=True), zlib.crc32(stored)))


def listing_checksum(*columns: np.ndarray) -> np.uint32:
    """CRC-32 over all labels, keys, source digests and boxes of a shard, for those who read them without the images."""
    checksum = 0
    for values in columns:
        checksum = zlib.crc32(np.ascontiguousarray(values).tobytes(), checksum)
    return np.uint32(checksum)


def padded_boxes(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes of n images, (m_i, 4) each, as one (n, m, 4) float32 array: m is the most of an image, the rest is NaN."""
    padded = np.full((len(boxes), max(map(len, boxes), default=0), 4), np.nan, np.float32)
    for row, mine in enumerate(boxes):
        padded[row, : len(mine)] = mine
    return padded


def map_checksum(stored: bytes | memoryview) -> int:
    """CRC-32 over the ids of one map."""
    return zlib.crc32(stored)
