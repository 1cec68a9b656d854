"""Reading a store: lazily, per process, whole batches at a time, every sample checked."""

import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import StoreError
from preprocess.images import decode
from preprocess.store.format import HEADER_BYTES, check_header, seal
from preprocess.store.writer import image_checksum, map_checksum
from preprocess.superpixels.scales import Scale

IMAGES = "images"
_OPEN_SHARDS = 64
_inherited: list[object] = []  # shards that a parent process opened: kept, so that this process never closes them


@dataclass(frozen=True)
class Split:
    """Where the samples of one split lie.

    Parameters
    ----------
    starts : (shards + 1,) int64 array: shard i holds samples starts[i] to starts[i + 1] - 1.
    paths : column name -> paths of its shards, relative to the folder of the index.
    """

    starts: np.ndarray
    paths: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return int(self.starts[-1])


class Store:
    """A store of images, labels and superpixel maps; open it with the path of its index.

    Opening reads the index alone. Shards open when they are first read, at most 64 at a time, once per process:
    a store may be pickled, forked and sent to workers.

    Parameters
    ----------
    path : the index, for example ``data/cub.h5``.

    Raises
    ------
    StoreError : missing, foreign, damaged, or of another format version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.document = read_index(self.path)
        entries = self.document["splits"]
        self.splits = {name: _lay_out(entries[name]) for name in self.document["plan"]["splits"]}
        self._forget_shards()

    @property
    def name(self) -> str:
        """Name of the store."""
        return self.document["name"]

    @property
    def dataset(self) -> str:
        """Name of the adapter that listed the images (``cub``, ``folder``, ...)."""
        return self.document["plan"]["dataset"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i is ``classes[i]``."""
        return tuple(self.document["classes"])

    @property
    def size(self) -> int:
        """Side of the stored images, in pixels."""
        return self.document["plan"]["images"]["size"]

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Stored segment counts with their draw weights, by rising count."""
        return tuple(Scale(scale["segments"], scale["weight"]) for scale in self.document["plan"]["scales"])

    @property
    def map_dtype(self) -> np.dtype:
        """A dtype that holds the maps of every scale."""
        return np.result_type(*(column["dtype"] for column in self._map_columns()))

    @property
    def sentinel(self) -> int:
        """The id that means "no superpixel" in ``map_dtype``: its highest value."""
        return int(np.iinfo(self.map_dtype).max)

    @property
    def region_count(self) -> int:
        """K_half: the largest id in any map of the store, plus one."""
        return 1 + max(column["largest_id"] for column in self._map_columns())

    @property
    def content_keys(self) -> dict[str, str]:
        """``split/column`` -> key of its content: equal keys, equal pixels and ids, however they are encoded."""
        return {
            f"{split}/{name}": column["content_key"]
            for split, entry in self.document["splits"].items()
            for name, column in entry["columns"].items()
        }

    def images(self, split: str, indices: Sequence[int]) -> np.ndarray:
        """Read images.

        Parameters
        ----------
        split : name of a split.
        indices : n sample numbers, in any order, repeats allowed.

        Returns
        -------
        (n, H, W, 3) uint8 array, RGB, in the order of ``indices``.

        Raises
        ------
        StoreError : an image does not match its checksum.
        """
        out = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        with self._lock:
            for place, shard, row in self._rows(split, IMAGES, indices):
                shard.read_image(row, out[place])
        return out

    def maps(self, split: str, segments: int, indices: Sequence[int]) -> np.ndarray:
        """Read the superpixel maps of one segment count.

        Returns
        -------
        (n, H, W) uint8 or uint16 array of ids, in the order of ``indices``.

        Raises
        ------
        StoreError : no such count, or a map does not match its checksum.
        """
        column = self._column(segments)
        self._layout(split)
        dtype = self.document["splits"][split]["columns"][column]["dtype"]
        out = np.empty((len(indices), self.size, self.size), dtype=dtype)
        with self._lock:
            for place, shard, row in self._rows(split, column, indices):
                shard.read_map(row, out[place])
        return out

    def labels(self, split: str) -> np.ndarray:
        """All labels of a split: (n,) int64 array."""
        parts = [shard.labels for shard in self._image_shards(split)]
        return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)

    def keys(self, split: str) -> list[str]:
        """All keys of a split: stable names, for example ``train/daisy/image_0801.jpg``."""
        return [key for shard in self._image_shards(split) for key in shard.keys]

    def close(self) -> None:
        """Close the shards that this process has opened; reading opens them again."""
        with self._lock:
            while self._shards:
                self._shards.popitem()[1].file.close()

    def __getstate__(self) -> dict:
        return {"path": self.path, "document": self.document, "splits": self.splits}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget_shards()

    def _forget_shards(self) -> None:
        self._shards: OrderedDict[Path, _Shard] = OrderedDict()
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def _map_columns(self) -> list[dict]:
        splits = self.document["splits"].values()
        return [column for split in splits for name, column in split["columns"].items() if name != IMAGES]

    def _layout(self, split: str) -> Split:
        if split not in self.splits:
            raise StoreError(f"{self.path} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]

    def _column(self, segments: int) -> str:
        counts = [scale.segments for scale in self.scales]
        if segments not in counts:
            stored = ", ".join(map(str, counts))
            raise StoreError(f"{self.path} holds no maps of {segments} segments; it holds {stored}")
        return f"{self.document['plan']['maps']['algorithm']}-{segments}"

    def _rows(self, split: str, column: str, indices: Sequence[int]) -> Iterator[tuple[int, "_Shard", int]]:
        """Yield (place in the batch, shard, row in the shard), shard by shard."""
        layout = self._layout(split)
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(layout)):
            raise IndexError(f"sample numbers of {split} run from 0 to {len(layout) - 1}, got {wanted.tolist()}")
        numbers = np.searchsorted(layout.starts, wanted, side="right") - 1
        for place in np.argsort(wanted, kind="stable").tolist():
            number = int(numbers[place])
            shard = self._open(layout.paths[column][number])
            yield place, shard, int(wanted[place] - layout.starts[number])

    def _image_shards(self, split: str) -> Iterator["_Shard"]:
        with self._lock:
            for path in self._layout(split).paths[IMAGES]:
                yield self._open(path)

    def _open(self, relative: str) -> "_Shard":
        if self._pid != os.getpid():
            _inherited.append(self._shards)
            self._forget_shards()
        path = self.path.parent / relative
        shard = self._shards.pop(path, None)
        if shard is None:
            while len(self._shards) >= _OPEN_SHARDS:
                self._shards.popitem(last=False)[1].file.close()
            shard = _Shard(path)
        self._shards[path] = shard
        return shard


class _Shard:
    """One open shard: the big dataset stays on the disk, the small ones are read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        try:
            # No chunk cache (each chunk is one sample, read once) and no lock (shards never change).
            self.file = h5py.File(path, "r", rdcc_nbytes=0, locking=False)
            self._read_small()
        except Exception as error:  # h5py answers damage with OSError, RuntimeError, KeyError, TypeError, ...
            if hasattr(self, "file"):
                self.file.close()
            raise StoreError(f"shard {path} cannot be read ({error}); run: python -m preprocess verify") from None

    def _read_small(self) -> None:
        big = next((name for name in ("maps", "images", "codes") if name in self.file), "maps")
        self.data = self.file[big]
        self.checksums: np.ndarray = self.file["checksums"][()]
        self.offsets: np.ndarray | None = self.file["offsets"][()] if big == "codes" else None
        self.labels: np.ndarray | None = None if big == "maps" else self.file["labels"][()]
        if big != "maps":
            self.keys = [key.decode() for key in self.file["keys"]]
        rows = {len(self.data) if self.offsets is None else len(self.offsets) - 1, len(self.checksums)}
        if self.labels is not None:
            rows |= {len(self.labels), len(self.keys)}
        if len(rows) != 1:
            raise ValueError("its datasets differ in length")

    def read_image(self, row: int, out: np.ndarray) -> None:
        """Read one image into ``out`` (H, W, 3) and check it."""
        if self.offsets is not None:
            out[...] = np.asarray(decode(self._code(row)))
            return
        self._read_row(row, out)
        self._check_image(row, memoryview(out).cast("B"))

    def read_map(self, row: int, out: np.ndarray) -> None:
        """Read one map into ``out`` (H, W) and check it."""
        self._read_row(row, out)
        if map_checksum(memoryview(out).cast("B")) != self.checksums[row]:
            raise StoreError(self._damaged(row))

    def check_row(self, row: int) -> None:
        """Read whatever this shard holds for one sample and compare it with its checksum."""
        if self.offsets is not None:
            self._code(row)
        else:
            read = self.read_map if self.data.ndim == 3 else self.read_image
            read(row, np.empty(self.data.shape[1:], self.data.dtype))

    def _read_row(self, row: int, out: np.ndarray) -> None:
        try:
            self.data.read_direct(out, np.s_[row])
        except Exception:
            raise StoreError(self._damaged(row)) from None

    def _code(self, row: int) -> bytes:
        code = self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()
        self._check_image(row, code)
        return code

    def _check_image(self, row: int, stored: bytes | memoryview) -> None:
        if image_checksum(stored, self.labels[row], self.keys[row]) != self.checksums[row]:
            raise StoreError(self._damaged(row))

    def _damaged(self, row: int) -> str:
        name = f" ({self.keys[row]})" if self.keys else ""
        return f"sample {row}{name} of {self.path} does not match its checksum; run: python -m preprocess verify"


def read_index(path: Path) -> dict:
    """Read and check the document of an index.

    Raises
    ------
    StoreError : missing, foreign, damaged, or of another format version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened: {error.strerror}; make a store with: python -m preprocess build"
        ) from None
    header, payload = data[:HEADER_BYTES], data[HEADER_BYTES:]
    check_header(header, "index", path)
    if seal(payload, "index")[0] != header:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest; build it again")
    with h5py.File(io.BytesIO(payload), "r") as file:
        return json.loads(file["document"][()])


def read_summary(path: Path) -> dict:
    """Read what the shard at ``path`` says of itself for the index."""
    with h5py.File(path, "r", locking=False) as file:
        return json.loads(file["summary"][()])


def read_sources(path: Path) -> dict[str, bytes]:
    """SHA-256 of the source file of every image in a shard, by key."""
    with h5py.File(path, "r", locking=False) as file:
        return {key.decode(): bytes(digest) for key, digest in zip(file["keys"], file["sources"], strict=True)}


def read_shard_images(path: Path, size: int) -> np.ndarray:
    """Read all images of one shard: (n, size, size, 3) uint8 array, as training will see them."""
    shard = _Shard(path)
    with shard.file:
        out = np.empty((len(shard.checksums), size, size, 3), dtype=np.uint8)
        for row, image in enumerate(out):
            shard.read_image(row, image)
    return out


def damaged_rows(path: Path) -> list[int]:
    """Rows of a damaged shard whose own checksums fail; empty where HDF5 cannot open the file at all."""
    try:
        shard = _Shard(path)
    except StoreError:
        return []
    rows = []
    with shard.file:
        for row in range(len(shard.checksums)):
            try:
                shard.check_row(row)
            except Exception:  # whatever it is, the row cannot be read
                rows.append(row)
    return rows


def _lay_out(entry: dict) -> Split:
    starts = np.cumsum([0, *entry["rows"]], dtype=np.int64)
    paths = {name: tuple(file["path"] for file in column["files"]) for name, column in entry["columns"].items()}
    return Split(starts, paths)
