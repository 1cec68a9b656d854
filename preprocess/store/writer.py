"""Shards and indexes as bytes, built in memory.

HDF5 never writes to the disk here: a full disk met inside HDF5 can crash the process at exit. The core driver gives the
bytes of the file, and :func:`preprocess.store.format.publish` writes them plainly.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from preprocess.store.format import FORMAT_VERSION, canonical, publish, seal

_GZIP_LEVEL = 4  # maps of 256x256: about 4 kB each; higher levels gain under 3 % and take twice the time


@dataclass(frozen=True)
class ImageRows:
    """The images of one range, as they are stored.

    Parameters
    ----------
    pixels : (n, H, W, 3) uint8 array.
    labels : (n,) int32 array.
    keys : n stable names, unique within the split.
    sources : n SHA-256 digests of the source files, 32 bytes each.
    """

    pixels: np.ndarray
    labels: np.ndarray
    keys: Sequence[str]
    sources: Sequence[bytes]


def image_checksum(stored: bytes | memoryview, label: int, key: str) -> int:
    """CRC-32 over what is stored of one image (raw pixels or JPEG bytes), its label and its key."""
    return zlib.crc32(key.encode(), zlib.crc32(int(label).to_bytes(4, "little", signed=True), zlib.crc32(stored)))


def map_checksum(stored: bytes | memoryview) -> int:
    """CRC-32 over the ids of one map."""
    return zlib.crc32(stored)


def write_image_shard(path: Path, rows: ImageRows, codes: Sequence[bytes] | None, summary: dict) -> tuple[int, str]:
    """Publish one shard of images.

    Parameters
    ----------
    path : final name.
    rows : pixels, labels, keys, source digests.
    codes : the images' JPEG files; None stores raw pixels.
    summary : plain data that the index will want (rows, failures).

    Returns
    -------
    Size in bytes and SHA-256.
    """
    count = len(rows.keys)

    def fill(file: h5py.File) -> None:
        if codes is None:
            # One sample a chunk: reading one image touches no other.
            chunk = (1, *rows.pixels.shape[1:]) if count else None
            file.create_dataset("images", data=rows.pixels, chunks=chunk)
            stored: Sequence = [memoryview(np.ascontiguousarray(image)).cast("B") for image in rows.pixels]
        else:
            file.create_dataset("codes", data=np.frombuffer(b"".join(codes), np.uint8))
            file.create_dataset("offsets", data=np.cumsum([0, *map(len, codes)], dtype=np.int64))
            stored = codes
        checksums = [image_checksum(*row) for row in zip(stored, rows.labels, rows.keys, strict=True)]
        file.create_dataset("labels", data=rows.labels)
        file.create_dataset("keys", data=_fixed_strings(rows.keys))
        file.create_dataset("sources", data=np.frombuffer(b"".join(rows.sources), np.uint8).reshape(count, 32))
        file.create_dataset("checksums", data=np.asarray(checksums, dtype=np.uint32))
        file.create_dataset("summary", data=_fixed_strings([canonical(summary)])[0])

    return _publish_hdf5(path, "shard", fill)


def write_map_shard(path: Path, maps: np.ndarray, summary: dict) -> tuple[int, str]:
    """Publish one shard of superpixel maps of one scale.

    Parameters
    ----------
    path : final name.
    maps : (n, H, W) uint8 or uint16 array of ids.
    summary : plain data that the index will want (largest id, region counts).

    Returns
    -------
    Size in bytes and SHA-256.
    """

    def fill(file: h5py.File) -> None:
        packing = {"chunks": (1, *maps.shape[1:]), "compression": "gzip", "compression_opts": _GZIP_LEVEL}
        file.create_dataset("maps", data=maps, **(packing if len(maps) else {}))
        checksums = [map_checksum(memoryview(np.ascontiguousarray(ids)).cast("B")) for ids in maps]
        file.create_dataset("checksums", data=np.asarray(checksums, dtype=np.uint32))
        file.create_dataset("summary", data=_fixed_strings([canonical(summary)])[0])

    return _publish_hdf5(path, "shard", fill)


def write_index(path: Path, document: dict) -> None:
    """Publish the index: the last step of a build."""

    def fill(file: h5py.File) -> None:
        file.create_dataset("document", data=_fixed_strings([canonical(document)])[0])

    _publish_hdf5(path, "index", fill)


def _publish_hdf5(path: Path, kind: str, fill: Callable[[h5py.File], None]) -> tuple[int, str]:
    # A core file without a backing store never touches the disk; its name only has to be a string.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        file.attrs["format"] = np.bytes_(f"lgcoamix-{kind}")
        file.attrs["version"] = FORMAT_VERSION
        fill(file)
        file.flush()
        payload = file.id.get_file_image()
    header, digest = seal(payload, kind)
    publish(path, header, payload)
    return len(header) + len(payload), digest


def _fixed_strings(texts: Sequence[str]) -> np.ndarray:
    """UTF-8 strings of one fixed length: variable-length strings live in a heap that no chunk read sees."""
    codes = [text.encode() for text in texts]
    length = max(map(len, codes), default=1)
    return np.asarray(codes, dtype=h5py.string_dtype("utf-8", max(1, length)))
