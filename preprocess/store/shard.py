"""Read one shard of a store; every sample is checked when it is read."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import StoreError
from preprocess.images import decode
from preprocess.store.format import image_checksum, listing_checksum, map_checksum

VERIFY = "run: python -m preprocess verify"


class Shard:
    """One open shard: an HDF5 file, or a group of a packed store, with its name in messages.

    Small datasets are read at once; images and maps are read on demand.
    """

    def __init__(self, group: h5py.Group, where: str) -> None:
        self.where = where
        self._listed = False
        self.group: h5py.Group | None = group
        big = next((name for name in ("maps", "images", "codes") if name in group), "maps")
        self.data = group[big]
        self.checksums: np.ndarray = group["checksums"][()]
        self.offsets: np.ndarray | None = group["offsets"][()] if big == "codes" else None
        self.sizes: np.ndarray | None = group["sizes"][()] if "sizes" in group else None
        self.regions: np.ndarray | None = group["regions"][()] if big == "maps" else None
        self._labels: np.ndarray | None = None if big == "maps" else group["labels"][()]
        # Read at once: HDF5 takes 40 us per element read alone.
        self._keys: np.ndarray | None = None if big == "maps" else group["keys"][()]
        rows = {len(self.data) if self.offsets is None else len(self.offsets) - 1, len(self.checksums)}
        others = (self.sizes, self.regions, self._labels, self._keys)
        if len(rows | {len(values) for values in others if values is not None}) != 1:
            raise ValueError("its datasets differ in length")

    @classmethod
    def open(cls, path: Path) -> "Shard":
        """Open the file of a shard.

        Raises
        ------
        StoreError : missing or damaged.
        """
        file = None
        try:
            file = open_hdf5(path)
            return cls(file, f"{path}")
        except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, TypeError, ... on damaged files
            if file is not None:
                file.close()
            raise StoreError(f"shard {path} cannot be read ({error}); {VERIFY}") from None

    @classmethod
    def within(cls, pack: h5py.File, relative: str, path: Path) -> "Shard":
        """Open a shard of a packed store."""
        try:
            return cls(pack[relative], f"{relative} in {path}")
        except Exception as error:
            raise StoreError(f"{relative} in {path} cannot be read ({error}); {VERIFY}") from None

    def __len__(self) -> int:
        return len(self.checksums)

    def close(self) -> None:
        """Close the shard's file; a packed store stays open."""
        if isinstance(self.group, h5py.File):
            self.group.close()
        self.group = self.data = None

    @property
    def labels(self) -> np.ndarray:
        """Checked labels of all images: (n,) int32 array."""
        self._check_listing()
        return self._labels

    @property
    def keys(self) -> list[str]:
        """Checked keys of all images."""
        self._check_listing()
        return [key.decode() for key in self._keys.tolist()]

    @property
    def sources(self) -> list[bytes]:
        """Checked digest of the source of every image."""
        self._check_listing()
        return [bytes(digest) for digest in self.group["sources"][()]]

    @property
    def boxes(self) -> np.ndarray:
        """Checked bounding boxes of all images: (n, m, 4) float32 array, padded with NaN."""
        self._check_listing()
        return self.group["boxes"][()] if "boxes" in self.group else np.empty((len(self), 0, 4), np.float32)

    def failed(self) -> list[dict[str, str]]:
        """Key and reason of every unusable image in the range of the shard."""
        return json.loads(self.group["failed"][()])

    def read_image(self, row: int) -> np.ndarray:
        """Read and check one image: (H, W, 3) uint8."""
        if self.offsets is not None:
            return np.asarray(decode(self.read_code(row)))
        pixels = self._read(row, row)
        self._check_image(row, memoryview(pixels).cast("B"))
        return pixels

    def read_map(self, row: int) -> np.ndarray:
        """Read and check one map: (H, W)."""
        window: int | tuple = row
        if self.sizes is not None:
            height, width = self.sizes[row].tolist()
            if not (0 < height <= self.data.shape[1] and 0 < width <= self.data.shape[2]):
                raise StoreError(self._damaged(row))
            window = np.s_[row, :height, :width]
        ids = self._read(row, window)
        if map_checksum(memoryview(ids).cast("B")) != self.checksums[row]:
            raise StoreError(self._damaged(row))
        return ids

    def read_code(self, row: int) -> bytes:
        """Read and check the encoded file of one image."""
        code = self._read(row, np.s_[self.offsets[row] : self.offsets[row + 1]]).tobytes()
        self._check_image(row, code)
        return code

    def check_row(self, row: int) -> None:
        """Read one sample, image or map, and compare it with its checksum."""
        if self.offsets is not None:
            self.read_code(row)
        elif self.regions is not None:
            self.read_map(row)
        else:
            self.read_image(row)

    def _read(self, row: int, window: int | tuple | slice) -> np.ndarray:
        try:
            return self.data[window]
        except Exception:
            raise StoreError(self._damaged(row)) from None

    def _check_listing(self) -> None:
        if self._listed:
            return
        with contextlib.suppress(Exception):  # h5py raises many types on damaged files
            sources, stated = self.group["sources"][()], self.group["listing_checksum"][()]
            boxes = [self.group["boxes"][()]] if "boxes" in self.group else []
            self._listed = listing_checksum(self._labels, self._keys, sources, *boxes) == stated
        if not self._listed:
            raise StoreError(f"labels or keys of {self.where} do not match their checksum; {VERIFY}")

    def _check_image(self, row: int, stored: bytes | memoryview) -> None:
        if image_checksum(stored, self._labels[row], self._keys[row]) != self.checksums[row]:
            raise StoreError(self._damaged(row))

    def _damaged(self, row: int) -> str:
        name = "" if self._keys is None else f" ({self._keys[row].decode(errors='replace')})"
        return f"sample {row}{name} of {self.where} does not match its checksum; {VERIFY}"


def open_hdf5(path: Path) -> h5py.File:
    """Open a published file without chunk cache (a chunk is one sample) and without lock (the file never changes)."""
    return h5py.File(path, "r", rdcc_nbytes=0, locking=False)


def damaged_rows(shards: Iterable[Shard]) -> list[tuple[Shard, int]]:
    """Shard and row of every sample that cannot be read or does not match its checksum."""
    rows = []
    for shard in shards:
        for row in range(len(shard)):
            try:
                shard.check_row(row)
            except Exception:
                rows.append((shard, row))
    return rows
