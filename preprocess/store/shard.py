"""Read one shard of a store: its form is checked when it is opened, and every sample when it is read."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import ImageError, StoreError
from preprocess.images import decode_stored
from preprocess.schema import parse_json
from preprocess.store.format import IMAGES, TILE, image_checksum, inflate, listing_checksum, map_checksum, most_packed
from preprocess.store.links import Shape, chunks_in, dataset_in, group_at, names_in, open_hdf5, piece_in, read_in
from preprocess.store.openfile import OpenFile
from preprocess.store.schema import MOST_PIXELS, Warned, check_failures, check_key, check_warnings
from preprocess.suspicious import KINDS

VERIFY = "run: python -m lgcoamix preprocess verify STORE"
_LISTED = {"labels": "int32", "keys": "S", "sources": "uint8", "listing_checksum": "uint32", "failed": "S"}
_OTHERS = {"offsets": "int64", "checksums": "uint32", "regions": "uint32", "sizes": "int32"}
_OPTIONAL = {"boxes": "float32", "suspicious": "uint8"}  # of images, in the order of the listing's checksum
_WARNED = {"warned": "S"}  # of images whose decoders gave warnings
_DTYPES = _LISTED | _OTHERS | _OPTIONAL | _WARNED
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
        """Names of its data sets; those in ``_OPTIONAL`` and ``_WARNED`` may be missing."""
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

    Small datasets are read at once, and so are the places of images and maps in the file: these are read on demand
    without HDF5, which takes three times as long, and half a megabyte for each open file. So their checksums are ours.
    """

    def __init__(self, group: h5py.Group, file: OpenFile, where: str, form: Form) -> None:
        self.file, self.where, self.form = file, where, form
        self._listed = False
        self.group: h5py.Group | None = group
        self.names = names_in(group, _MOST_NAMES)
        optional = _OPTIONAL.keys() | _WARNED.keys() if form.codec else set()
        if self.names - optional != form.names:
            raise ValueError(f"expected the data sets {_joined(form.names)}, got {_joined(self.names)}")
        self.checksums = self._array("checksums", (form.rows,))
        rows = len(self.checksums)
        self.sizes: np.ndarray | None = self._array("sizes", (rows, 2)) if form.varied else None
        self.regions: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        # Read at once: HDF5 takes 40 us per element read alone.
        self._keys: np.ndarray | None = None
        if form.codec is None:
            self.regions = self._array("regions", (rows,))
        else:
            self._labels, self._keys = self._array("labels", (rows,)), self._array("keys", (rows,))
        self._check_numbers()
        # First bytes, and numbers of bytes, of all samples, or of all tiles of all maps.
        self._starts, self._sizes, self._skips = self._places(rows)

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

    def _places(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Check the data set of the pixels, without reading it, and find each sample: see :func:`chunks_in`."""
        side, form = self.form.size, self.form
        if form.codec == "raw":
            images = dataset_in(self.group, "images", "uint8", (rows, side, side, 3), (1, side, side, 3))
            return chunks_in(images, np.ones((rows, 2), np.int64))
        if form.codec is not None:
            codes = dataset_in(self.group, "codes", "uint8", (None,))
            offsets = self._array("offsets", (rows + 1,))
            if offsets[0] != 0 or offsets[-1] != len(codes) or (np.diff(offsets) < 0).any():
                raise ValueError(f"offsets: expected a rising series from 0 to {len(codes)}")
            return piece_in(codes) + offsets[:-1], np.diff(offsets), None
        shape = (side, side) if self.sizes is None else tuple(self.sizes.max(axis=0, initial=1).tolist())
        self._tile = shape if self.sizes is None else tuple(min(length, TILE) for length in shape)
        chunk = (1, *self._tile) if rows else None
        maps = dataset_in(self.group, "maps", form.dtype, (rows, *shape), chunk, rows > 0)
        counts = np.ones((rows, 2), np.int64) if self.sizes is None else -(-self.sizes.astype(np.int64) // self._tile)
        self._firsts = counts.prod(axis=1).cumsum() - counts.prod(axis=1)
        return chunks_in(maps, counts) if rows else (np.empty(0, np.int64),) * 3

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
            return cls(file, OpenFile(path), f"{path}", form)
        except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, TypeError, ... on damaged files
            if file is not None:
                file.close()
            raise StoreError(f"shard {path} cannot be read ({error}); {VERIFY}") from None

    @classmethod
    def within(cls, pack: h5py.File, relative: str, file: OpenFile, form: Form) -> "Shard":
        """Open a shard of a packed store.

        Parameters
        ----------
        pack, file : the store, twice: with HDF5, and for its samples.

        Raises
        ------
        StoreError : damaged, or not of this form.
        """
        where = f"{relative} in {file.path}"
        try:
            return cls(group_at(pack, relative), file, where, form)
        except Exception as error:
            raise StoreError(f"{where} cannot be read ({error}); {VERIFY}") from None

    def __len__(self) -> int:
        return len(self.checksums)

    @property
    def places(self) -> int:
        """Number of places in the file that are known: of all samples, or of all tiles of all maps."""
        return len(self._starts)

    def release(self) -> None:
        """Close HDF5's file, unless it is a packed store; samples can still be read, but nothing that is listed."""
        if isinstance(self.group, h5py.File):
            self.group.close()
        self.group = None

    def close(self) -> None:
        """Close the shard's file; a packed store stays open for HDF5."""
        self.release()
        self.file.close()

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

    def warned(self) -> list[Warned]:
        """Kind of every warning of decoders, number of images of the shard, and the key of one."""
        try:
            return check_warnings(parse_json(self._array("warned", ()).item())) if "warned" in self.names else []
        except Exception as error:
            raise StoreError(f"warnings of {self.where} cannot be read ({error}); {VERIFY}") from None

    def check_listing(self) -> None:
        """Read everything but the images and maps, and check it."""
        if self.form.codec is not None:
            _ = self.keys, self.boxes, self.suspicious
            _ = self.failed(), self.warned()

    def read_image(self, row: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read and check one image: (H, W, 3) uint8.

        Parameters
        ----------
        out : array for the pixels, if they are raw; None makes one.
        """
        if self.form.codec != "raw":
            try:
                return decode_stored(self.read_code(row), self.form.codec, self._size(row))
            except ImageError as error:
                raise StoreError(f"{self._name(row)} cannot be decoded ({error}); {VERIFY}") from None
        pixels = np.empty((self.form.size, self.form.size, 3), np.uint8) if out is None else out
        self._read(row, self._starts[row], self._sizes[row], pixels)
        self._check_image(row, pixels)
        return pixels

    def read_map(self, row: int) -> np.ndarray:
        """Read and check one map: (H, W), read-only."""
        try:
            ids = self._unpacked(row)
        except Exception:
            raise StoreError(self._damaged(row)) from None
        if map_checksum(ids) != self.checksums[row]:
            raise StoreError(self._damaged(row))
        # An id above the bound would be an index out of range on the GPU.
        found, stated, most = int(ids.max()) + 1, int(self.regions[row]), self.form.regions
        if found != stated or (most is not None and stated > most):
            expected = f"{stated} superpixels" if found != stated else f"at most {most}"
            raise StoreError(f"{self._name(row)}: expected {expected}, got ids up to {found - 1}; {VERIFY}")
        return ids

    def read_code(self, row: int) -> bytes:
        """Read and check the encoded file of one image."""
        code = np.empty(self._sizes[row], np.uint8)
        self._read(row, self._starts[row], self._sizes[row], code)
        self._check_image(row, code)
        return code.tobytes()

    def check_row(self, row: int) -> None:
        """Read one sample, image or map, and compare it with its checksum."""
        if self.form.codec is None:
            self.read_map(row)
        elif self.form.codec == "raw":
            self.read_image(row)
        else:
            self.read_code(row)

    def _read(self, row: int, start: int, size: int, out: np.ndarray) -> None:
        try:
            if size != out.nbytes:
                raise ValueError
            self.file.read(out, start)
        except Exception:
            raise StoreError(self._damaged(row)) from None

    def _size(self, row: int) -> tuple[int, int]:
        return (self.form.size, self.form.size) if self.sizes is None else tuple(self.sizes[row].tolist())

    def _unpacked(self, row: int) -> np.ndarray:
        """Unpack the tiles of a map here: HDF5 would unpack a chunk to any size."""
        size = self._size(row)
        (height, width), (high, wide) = size, self._tile
        place = self._firsts[row]
        if size == self._tile:
            return self._unpacked_tile(place)
        ids = np.empty(size, self.form.dtype)
        for top in range(0, height, high):
            for left in range(0, width, wide):
                tile, place = self._unpacked_tile(place), place + 1
                ids[top : top + high, left : left + wide] = tile[: height - top, : width - left]
        return ids

    def _unpacked_tile(self, place: int) -> np.ndarray:
        size = math.prod(self._tile) * np.dtype(self.form.dtype).itemsize
        if self._sizes[place] > most_packed(size):  # a chunk may state that it is as large as its file
            raise ValueError
        packed = np.empty(self._sizes[place], np.uint8)
        self.file.read(packed, self._starts[place])
        unpacked = packed if self._skips[place] else inflate(packed, size)
        if len(unpacked) != size:
            raise ValueError
        return np.frombuffer(unpacked, self.form.dtype).reshape(self._tile)

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

    def _check_image(self, row: int, stored: np.ndarray) -> None:
        if image_checksum(stored, self._labels[row], self._keys[row]) != self.checksums[row]:
            raise StoreError(self._damaged(row))

    def _name(self, row: int) -> str:
        name = "" if self._keys is None else f" ({self._keys[row].decode(errors='replace')})"
        return f"sample {row}{name} of {self.where}"

    def _damaged(self, row: int) -> str:
        return f"{self._name(row)} does not match its checksum; {VERIFY}"


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
