"""Read one shard of a store: its form is checked when it is opened, and every sample when it is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import ImageError, StoreError
from preprocess.images import decode_stored
from preprocess.schema import parse_json
from preprocess.store.format import IMAGES, TILE, image_checksum, inflate, listing_checksum, map_checksum
from preprocess.store.links import Shape, dataset_in, group_in, names_in, open_hdf5, read_in
from preprocess.store.schema import MOST_PIXELS, check_failures, check_key
from preprocess.suspicious import KINDS

VERIFY = "run: python -m lgcoamix preprocess verify"
_LISTED = {"labels": "int32", "keys": "S", "sources": "uint8", "listing_checksum": "uint32", "failed": "S"}
_OTHERS = {"offsets": "int64", "checksums": "uint32", "regions": "uint32", "sizes": "int32"}
_OPTIONAL = {"boxes": "float32", "suspicious": "uint8"}  # of images, in the order of the listing's checksum
_DTYPES = _LISTED | _OTHERS | _OPTIONAL
_MOST_NAMES = 16


@dataclass(frozen=True)
class Form:
    """What a shard must be, by its index or by the settings of its build.

    Parameters
    ----------
    codec : ``raw``, ``jpeg`` or ``png`` for a shard of images; None for one of maps.
    size : side of all images and maps; None if sizes vary.
    dtype : dtype of maps.
    regions : largest number of superpixels in a map that is in use; None if not yet known.
    rows : number of samples; None if not yet known.
    """

    codec: str | None
    size: int | None
    dtype: str = "uint8"
    regions: int | None = None
    rows: int | None = None

    @property
    def names(self) -> set[str]:
        """Names of its data sets; those in ``_OPTIONAL`` may be missing."""
        pixels = {None: {"maps", "regions"}, "raw": {"images"}}.get(self.codec, {"codes", "offsets"})
        return pixels | {"checksums"} | (set() if self.codec is None else _LISTED.keys()) | self.varied

    @property
    def varied(self) -> set[str]:
        """The data set of sizes, if sizes vary."""
        return {"sizes"} if self.size is None else set()


def form_of(document: dict, split: str, column: str, number: int) -> Form:
    """Form of a shard of a column, by the index."""
    images, rows = document["images"], document["splits"][split]["rows"][number]
    entry = document["splits"][split]["columns"][column]
    size = images["size"] if images["resize"] == "squash" else None
    if column == IMAGES:
        return Form(images["codec"], size, rows=rows)
    return Form(None, size, entry["dtype"], entry["largest_id"] + 1, rows)


class Shard:
    """One open shard: an HDF5 file, or a group of a packed store, with its name in messages.

    Small datasets are read at once; images and maps are read on demand.
    """

    def __init__(self, group: h5py.Group, where: str, form: Form) -> None:
        self.where, self.form = where, form
        self._listed = False
        self.group: h5py.Group | None = group
        self.names = names_in(group, _MOST_NAMES)
        optional = _OPTIONAL.keys() if form.codec else set()
        if self.names - optional != form.names:
            raise ValueError(f"expected the data sets {_joined(form.names)}, got {_joined(self.names)}")
        self.checksums = self._array("checksums", (form.rows,))
        rows = len(self.checksums)
        self.sizes: np.ndarray | None = self._array("sizes", (rows, 2)) if form.varied else None
        self.offsets: np.ndarray | None = None
        self.regions: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        # Read at once: HDF5 takes 40 us per element read alone.
        self._keys: np.ndarray | None = None
        if form.codec is None:
            self.regions = self._array("regions", (rows,))
        else:
            self._labels, self._keys = self._array("labels", (rows,)), self._array("keys", (rows,))
        self._check_numbers()
        self.data: h5py.Dataset | None = self._pixels(rows)

    def _array(self, name: str, shape: Shape) -> np.ndarray:
        """Check and read a small data set."""
        return read_in(self.group, name, _DTYPES[name], shape)

    def _check_numbers(self) -> None:
        if self.sizes is not None and len(self.sizes):
            pixels = self.sizes.astype(np.int64).prod(axis=1)
            if self.sizes.min() < 1 or pixels.max() > MOST_PIXELS:
                raise ValueError(f"sizes: expected 1 to {MOST_PIXELS} pixels, got {self.sizes.tolist()[:3]}")
        most = np.iinfo(self.form.dtype).max
        if self.regions is not None and not (self.regions.min(initial=1) >= 1 and self.regions.max(initial=1) <= most):
            raise ValueError(f"regions: expected 1 to {most}, got {self.regions.min()} to {self.regions.max()}")
        if self._labels is not None and self._labels.min(initial=0) < 0:
            raise ValueError(f"labels: expected numbers of classes, got {self._labels.min()}")

    def _pixels(self, rows: int) -> h5py.Dataset:
        """Check the data set of the pixels, without reading it."""
        side, form = self.form.size, self.form
        if form.codec == "raw":
            return dataset_in(self.group, "images", "uint8", (rows, side, side, 3), (1, side, side, 3))
        if form.codec is not None:
            codes = dataset_in(self.group, "codes", "uint8", (None,))
            self.offsets = self._array("offsets", (rows + 1,))
            if self.offsets[0] != 0 or self.offsets[-1] != len(codes) or (np.diff(self.offsets) < 0).any():
                raise ValueError(f"offsets: expected a rising series from 0 to {len(codes)}")
            return codes
        shape = (side, side) if self.sizes is None else tuple(self.sizes.max(axis=0, initial=1).tolist())
        tile = shape if self.sizes is None else tuple(min(length, TILE) for length in shape)
        return dataset_in(self.group, "maps", form.dtype, (rows, *shape), (1, *tile) if rows else None, rows > 0)

    @classmethod
    def open(cls, path: Path, form: Form) -> "Shard":
        """Open the file of a shard.

        Raises
        ------
        StoreError : missing, damaged, or not of this form.
        """
        file = None
        try:
            file = open_hdf5(path)
            return cls(file, f"{path}", form)
        except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, TypeError, ... on damaged files
            if file is not None:
                file.close()
            raise StoreError(f"shard {path} cannot be read ({error}); {VERIFY}") from None

    @classmethod
    def within(cls, pack: h5py.File, relative: str, path: Path, form: Form) -> "Shard":
        """Open a shard of a packed store."""
        try:
            group = pack
            for name in relative.split("/"):
                group = group_in(group, name)
            return cls(group, f"{relative} in {path}", form)
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
        try:
            keys = [key.decode() for key in self._keys.tolist()]
            for key in keys:
                check_key(key)
        except ValueError as error:
            raise StoreError(f"keys of {self.where}: {error}; {VERIFY}") from None
        return keys

    @property
    def sources(self) -> list[bytes]:
        """Checked digest of the source of every image."""
        self._check_listing()
        return [bytes(digest) for digest in self._array("sources", (len(self), 32))]

    @property
    def boxes(self) -> np.ndarray:
        """Checked bounding boxes of all images: (n, m, 4) float32 array, padded with NaN."""
        self._check_listing()
        if "boxes" not in self.names:
            return np.empty((len(self), 0, 4), np.float32)
        boxes = self._array("boxes", (len(self), None, 4))
        sound = (boxes >= 0).all(axis=2) & (boxes <= 1).all(axis=2) & (boxes[..., :2] <= boxes[..., 2:]).all(axis=2)
        if not (sound | np.isnan(boxes).all(axis=2)).all():
            odd = boxes[~sound & ~np.isnan(boxes).all(axis=2)][0].tolist()
            raise StoreError(f"boxes of {self.where}: expected 0 <= x0 <= x1 <= 1 and so for y, got {odd}; {VERIFY}")
        return boxes

    @property
    def suspicious(self) -> np.ndarray:
        """Checked bits of all images, as in :mod:`preprocess.suspicious`: (n,) uint8 array."""
        self._check_listing()
        if "suspicious" not in self.names:
            return np.zeros(len(self), np.uint8)
        bits = self._array("suspicious", (len(self),))
        if not 0 < bits.max(initial=0) <= sum(KINDS.values()):
            raise StoreError(
                f"suspicious of {self.where}: expected bits up to {sum(KINDS.values())}, got {bits.max(initial=0)}; "
                f"{VERIFY}"
            )
        return bits

    def failed(self) -> list[dict[str, str]]:
        """Key, reason and SHA-256 of every unusable image in the range of the shard."""
        try:
            return check_failures(parse_json(self._array("failed", ()).item()))
        except Exception as error:
            raise StoreError(f"failed images of {self.where} cannot be read ({error}); {VERIFY}") from None

    def check_listing(self) -> None:
        """Read everything but the images and maps, and check it."""
        if self.form.codec is not None:
            _ = self.keys, self.boxes, self.suspicious
            self.failed()

    def read_image(self, row: int) -> np.ndarray:
        """Read and check one image: (H, W, 3) uint8."""
        if self.offsets is not None:
            size = (self.form.size, self.form.size) if self.sizes is None else tuple(self.sizes[row].tolist())
            try:
                return decode_stored(self.read_code(row), self.form.codec, size)
            except ImageError as error:
                raise StoreError(f"{self._name(row)} cannot be decoded ({error}); {VERIFY}") from None
        pixels = self._read(row, row)
        self._check_image(row, memoryview(pixels).cast("B"))
        return pixels

    def read_map(self, row: int) -> np.ndarray:
        """Read and check one map: (H, W)."""
        size = self.data.shape[1:] if self.sizes is None else self.sizes[row].tolist()
        try:
            ids = self._unpacked(row, *size)
        except Exception:
            raise StoreError(self._damaged(row)) from None
        if map_checksum(memoryview(ids).cast("B")) != self.checksums[row]:
            raise StoreError(self._damaged(row))
        # An id above the bound would be an index out of range on the GPU.
        found, stated, most = int(ids.max()) + 1, int(self.regions[row]), self.form.regions
        if found != stated or (most is not None and stated > most):
            expected = f"{stated} superpixels" if found != stated else f"at most {most}"
            raise StoreError(f"{self._name(row)}: expected {expected}, got ids up to {found - 1}; {VERIFY}")
        return ids

    def read_code(self, row: int) -> bytes:
        """Read and check the encoded file of one image."""
        code = self._read(row, slice(self.offsets[row], self.offsets[row + 1])).tobytes()
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

    def _read(self, row: int, window: int | slice) -> np.ndarray:
        try:
            return self.data[window]
        except Exception:
            raise StoreError(self._damaged(row)) from None

    def _unpacked(self, row: int, height: int, width: int) -> np.ndarray:
        """Unpack the tiles of a map here: HDF5 would unpack a chunk to any size."""
        ids = np.empty((height, width), self.data.dtype)
        _, high, wide = self.data.chunks
        size = high * wide * ids.itemsize
        for top in range(0, height, high):
            for left in range(0, width, wide):
                skipped, packed = self.data.id.read_direct_chunk((row, top, left))
                unpacked = packed if skipped else inflate(packed, size)
                if len(unpacked) != size:
                    raise ValueError
                tile = np.frombuffer(unpacked, ids.dtype).reshape(high, wide)
                ids[top : top + high, left : left + wide] = tile[: height - top, : width - left]
        return ids

    def _check_listing(self) -> None:
        if self._listed:
            return
        try:
            sources, stated = self._array("sources", (len(self), 32)), self._array("listing_checksum", ())
            shapes: dict[str, Shape] = {"boxes": (len(self), None, 4), "suspicious": (len(self),)}
            others = [self._array(name, shapes[name]) for name in _OPTIONAL if name in self.names]
        except Exception as error:  # h5py raises many types on damaged files
            raise StoreError(f"labels or keys of {self.where} cannot be read ({error}); {VERIFY}") from None
        if listing_checksum(self._labels, self._keys, sources, *others) != stated:
            raise StoreError(f"labels or keys of {self.where} do not match their checksum; {VERIFY}")
        self._listed = True

    def _check_image(self, row: int, stored: bytes | memoryview) -> None:
        if image_checksum(stored, self._labels[row], self._keys[row]) != self.checksums[row]:
            raise StoreError(self._damaged(row))

    def _name(self, row: int) -> str:
        name = "" if self._keys is None else f" ({self._keys[row].decode(errors='replace')})"
        return f"sample {row}{name} of {self.where}"

    def _damaged(self, row: int) -> str:
        return f"{self._name(row)} does not match its checksum; {VERIFY}"


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
