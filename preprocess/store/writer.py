"""Build shards in memory.

HDF5 never writes to the disk here, because a full disk inside HDF5 can crash the process at exit. The core driver
returns the bytes of the file, and :func:`preprocess.files.publish` writes them.
"""

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from preprocess.files import publish
from preprocess.store.format import (
    FORMAT_VERSION,
    TILE,
    canonical,
    image_checksum,
    listing_checksum,
    map_checksum,
    padded_boxes,
    seal,
)

_GZIP_LEVEL = 6  # a quarter smaller than level 4 and faster to read, for 0.3 ms per map; see `make bench ARGS=store`
_NO_BOXES = np.empty((0, 4), np.float32)


@dataclass(frozen=True)
class Sealed:
    """A shard in memory, ready to be published."""

    header: bytes  # user block
    payload: bytes  # HDF5 file
    digest: str  # hexadecimal SHA-256 of the payload

    def publish(self, path: Path) -> int:
        """Write the shard under its final name; return its size in bytes."""
        publish(path, self.header, self.payload)
        return len(self.header) + len(self.payload)


def memory_file() -> h5py.File:
    """A new HDF5 file that is never written to the disk; HDF5 requires open files to have different names."""
    return h5py.File(f"memory-{uuid.uuid4()}", "w", driver="core", backing_store=False)


class _Shard:
    """A shard that grows in memory."""

    def __init__(self, varied: bool) -> None:
        self.varied = varied  # whether sizes vary
        self.file = memory_file()
        self.file.attrs["format"] = np.bytes_("lgcoamix-shard")
        self.file.attrs["version"] = FORMAT_VERSION
        self.checksums: list[int] = []
        self.sizes: list[tuple[int, int]] = []

    def _finish(self) -> Sealed:
        with self.file:
            if self.varied:
                self.file.create_dataset("sizes", data=np.asarray(self.sizes, np.int32).reshape(-1, 2))
            self.file.create_dataset("checksums", data=np.asarray(self.checksums, np.uint32))
            self.file.flush()
            payload = self.file.id.get_file_image()
        header, digest = seal(payload, "shard")
        return Sealed(header, payload, digest)


class ImageShard(_Shard):
    """Images, labels and keys of one range, added one by one.

    Parameters
    ----------
    most : largest number of images.
    shape : (H, W) of raw images; None for encoded images.
    varied : whether image sizes vary.
    """

    def __init__(self, most: int, shape: tuple[int, int] | None, varied: bool) -> None:
        super().__init__(varied)
        self.codes: list[bytes] = []
        self.labels: list[int] = []
        self.keys: list[str] = []
        self.sources: list[bytes] = []
        self.boxes: list[np.ndarray] = []
        self.suspicious: list[int] = []
        self.raw = None
        if shape is not None:
            # One sample per chunk: reading an image touches no other image.
            layout = {"maxshape": (most, *shape, 3), "chunks": (1, *shape, 3)}
            self.raw = self.file.create_dataset("images", (most, *shape, 3), np.uint8, **layout)

    def add(
        self,
        stored: np.ndarray | bytes,
        size: tuple[int, int],
        label: int,
        key: str,
        source: bytes,
        boxes: np.ndarray = _NO_BOXES,
        suspicious: int = 0,
    ) -> None:
        """Add an image.

        Parameters
        ----------
        stored : (H, W, 3) uint8 pixels, or an image file.
        size : (H, W).
        label : class number.
        key : name, unique within the split.
        source : digest of the source, 32 bytes.
        boxes : (m, 4) float32 array: edges x0, y0, x1, y1 of its objects as fractions of width and height.
        suspicious : its bits, as in :mod:`preprocess.suspicious`.
        """
        if self.raw is not None:
            pixels = np.ascontiguousarray(stored)
            self.raw[len(self.keys)] = pixels
            data = memoryview(pixels).cast("B")
        else:
            self.codes.append(stored)
            data = stored
        self.checksums.append(image_checksum(data, label, key.encode()))
        self.labels.append(label)
        self.keys.append(key)
        self.sources.append(source)
        self.boxes.append(boxes)
        self.suspicious.append(suspicious)
        self.sizes.append(size)

    def finish(self, failed: list[dict[str, str]], warned: Sequence[dict] = ()) -> Sealed:
        """Close the shard.

        Parameters
        ----------
        failed : key, reason and SHA-256 of every unusable image in the range.
        warned : kind of every warning of decoders, number of images, and the key of one.
        """
        count = len(self.keys)
        if self.raw is not None:
            self.raw.resize(count, axis=0)
        else:
            self.file.create_dataset("codes", data=np.frombuffer(b"".join(self.codes), np.uint8))
            self.file.create_dataset("offsets", data=np.cumsum([0, *map(len, self.codes)], dtype=np.int64))
        labels, keys = np.asarray(self.labels, np.int32), _fixed_strings(self.keys)
        sources = np.frombuffer(b"".join(self.sources), np.uint8).reshape(count, 32)
        self.file.create_dataset("labels", data=labels)
        self.file.create_dataset("keys", data=keys)
        self.file.create_dataset("sources", data=sources)
        listed = [labels, keys, sources]
        if any(map(len, self.boxes)):
            listed.append(padded_boxes(self.boxes))
            self.file.create_dataset("boxes", data=listed[-1])
        if any(self.suspicious):
            listed.append(np.asarray(self.suspicious, np.uint8))
            self.file.create_dataset("suspicious", data=listed[-1])
        self.file.create_dataset("listing_checksum", data=listing_checksum(*listed))
        self.file.create_dataset("failed", data=_fixed_strings([canonical(failed)])[0])
        if warned:
            self.file.create_dataset("warned", data=_fixed_strings([canonical(warned)])[0])
        return self._finish()


class MapShard(_Shard):
    """The superpixel maps of one range at one scale, added one by one.

    Parameters
    ----------
    count : number of maps.
    shape : (H, W) of all maps; if sizes vary, of the largest map. Smaller maps are padded with the sentinel.
    dtype : uint8 or uint16.
    varied : whether map sizes vary.
    """

    def __init__(self, count: int, shape: tuple[int, int], dtype: str, varied: bool) -> None:
        super().__init__(varied)
        self.regions: list[int] = []
        packing = {"chunks": (1, *(min(side, TILE) if varied else side for side in shape)), "compression": "gzip"}
        self.maps = self.file.create_dataset(
            "maps",
            (count, *shape),
            dtype,
            fillvalue=np.iinfo(dtype).max,
            **(packing | {"compression_opts": _GZIP_LEVEL} if count else {}),
        )

    def add(self, ids: np.ndarray) -> None:
        """Add an (H, W) map, dense from 0."""
        ids = np.ascontiguousarray(ids, self.maps.dtype)
        row = len(self.regions)
        if self.varied:
            self.maps[row, : ids.shape[0], : ids.shape[1]] = ids
        else:
            # Compressed here because HDF5 would hold Python's lock; this way threads compress in parallel.
            self.maps.id.write_direct_chunk((row, 0, 0), zlib.compress(ids, _GZIP_LEVEL))
        self.checksums.append(map_checksum(memoryview(ids).cast("B")))
        self.regions.append(int(ids.max()) + 1)
        self.sizes.append(ids.shape)

    def finish(self) -> Sealed:
        """Close the shard."""
        self.file.create_dataset("regions", data=np.asarray(self.regions, np.uint32))
        return self._finish()


def _fixed_strings(texts: Sequence[str]) -> np.ndarray:
    """Fixed-length UTF-8 strings; HDF5 keeps variable-length strings in a heap outside the dataset's chunks."""
    codes = [text.encode() for text in texts]
    length = max(map(len, codes), default=1)
    return np.asarray(codes, dtype=h5py.string_dtype("utf-8", max(1, length)))
