"""Read a store: lazily, in batches, from any process, checking every sample."""

import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from preprocess.errors import StoreError
from preprocess.schema import SchemaError
from preprocess.store.format import IMAGES, kind_of, padded_boxes
from preprocess.store.index import packed_index, read_index, records_of
from preprocess.store.layout import Split, SuperpixelSet, lay_out, read_set
from preprocess.store.links import open_hdf5
from preprocess.store.openfile import OpenFile, Stamp
from preprocess.store.place import is_whole, real_index, shard_path
from preprocess.store.schema import check_labels
from preprocess.store.shard import VERIFY, Shard, form_of
from preprocess.superpixels.scales import Scale

try:
    import resource
except ImportError:  # Windows
    resource = None

_PIXELS_AT_ONCE, _BOXES_AT_ONCE = 1 << 26, 1 << 28
_MOST_OPEN_SHARDS = 256  # HDF5 takes half a megabyte for each
_MOST_ROWS = 1 << 23  # samples, or tiles of maps, whose places are known: each takes 20 to 60 bytes
_inherited: list[object] = []  # files that HDF5 opened in a parent process: this process must never close them
_stores: "weakref.WeakSet[Store]" = weakref.WeakSet()  # of this process

Numbers = Sequence[int] | np.ndarray  # of samples: int64, if an array


class Store:
    """A store of images, labels and superpixel maps.

    Opening it reads only the index. Columns that a later build adds to the disk are not visible in an open store.
    Shards open on first use, once per process. Where their samples lie is kept until :meth:`close`; of their files at
    most 256 are open at a time. A store can be pickled, forked and sent to workers.

    Parameters
    ----------
    path : the index, for example ``data/cub.h5``, or a packed store.
    superpixels : name of the superpixel set to read maps from; None selects the set that was built first.

    Raises
    ------
    StoreError : missing, not a store, damaged, of another format version, or without that superpixel set.

    Examples
    --------
    >>> from preprocess import Store
    >>> store = Store("data/cub.h5")
    >>> store.images("train", [5, 3, 9]).shape
    (3, 16, 16, 3)
    >>> store.maps("train", store.scales[0].segments, [5, 3, 9]).shape
    (3, 16, 16)
    >>> store.labels("test")
    array([0, 0, 0, 1, 1, 1])
    """

    def __init__(self, path: str | os.PathLike[str], superpixels: str | None = None) -> None:
        self.path = Path(path)
        self.packed = kind_of(self.path) == "pack"
        self.index = packed_index(self.path) if self.packed else read_index(self.path)
        self.home = real_index(self.path).parent
        self.splits = {name: lay_out(self.index, name) for name in self.document["splits"]}
        sets = self.superpixel_sets
        if superpixels is not None and superpixels not in sets:
            raise StoreError(f"{self.path} has no superpixels {superpixels!r}; choose from {', '.join(sets)}")
        self.superpixels = sets[superpixels] if superpixels else next(iter(sets.values()))
        self._forget_shards()

    @property
    def document(self) -> dict:
        """The index as plain data."""
        return self.index.document

    @property
    def name(self) -> str:
        """Name of the store."""
        return self.document["name"]

    @property
    def dataset(self) -> str:
        """Name of the data set in ``DATASETS`` (``cub``, ``folder``, ...)."""
        return self.document["dataset"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return tuple(self.document["classes"])

    @property
    def size(self) -> int | None:
        """Side of the stored images in pixels (short side for resize ``short``); None for resize ``none``."""
        return self.document["images"]["size"]

    @property
    def resize(self) -> str:
        """How the images were resized: ``squash``, ``short`` or ``none``."""
        return self.document["images"]["resize"]

    @property
    def uniform(self) -> bool:
        """Whether all images have the same size."""
        return self.resize == "squash"

    @property
    def superpixel_sets(self) -> dict[str, SuperpixelSet]:
        """The superpixel sets by name, in build order."""
        return {entry["name"]: read_set(entry) for entry in self.document["superpixels"]}

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Segment counts of the selected superpixel set with their draw weights, by increasing count."""
        return self.superpixels.scales

    @property
    def map_dtype(self) -> np.dtype:
        """The smallest dtype that holds the maps of every scale."""
        return np.result_type(*(column["dtype"] for column in self._map_columns()))

    @property
    def sentinel(self) -> int:
        """The id that means "no superpixel": the largest value of ``map_dtype``."""
        return int(np.iinfo(self.map_dtype).max)

    @property
    def region_count(self) -> int:
        """K_half: one more than the largest id in any map of the selected superpixel set."""
        return 1 + max(column["largest_id"] for column in self._map_columns())

    @property
    def content_keys(self) -> dict[str, str]:
        """``split/column`` -> content key, for the images and the selected superpixel set.

        Equal keys mean equal pixels and ids, in any encoding.
        """
        chosen = {IMAGES, *self.superpixels.columns}
        return {
            f"{split}/{name}": column["content_key"]
            for split, entry in self.document["splits"].items()
            for name, column in entry["columns"].items()
            if name in chosen
        }

    @property
    def test_split(self) -> str | None:
        """Name of the split to evaluate on: ``test``, or ``val`` for sets without one, such as ImageNet; else None."""
        return next((split for split in ("test", "val") if split in self.splits and len(self.splits[split])), None)

    def has_maps(self, split: str) -> bool:
        """Whether a split has maps of all scales of the selected superpixel set."""
        return set(self.superpixels.columns) <= self._layout(split).paths.keys()

    def missing(self) -> list[str]:
        """Relative paths of shards that are missing or differ in size from the index; empty for a complete store."""
        if self.packed:
            return []
        return [path for path, record in self.records() if not is_whole(self.home, record)]

    @property
    def files(self) -> tuple[Path, ...]:
        """The index, and the folders of its shards, which keep their name if an index is renamed."""
        if self.packed:
            return (self.path,)
        folders = {path.split("/")[0] for path, _ in self.records()} | {f"{real_index(self.path).stem}.shards"}
        return self.path, *(self.home / folder for folder in sorted(folders))

    def shards(self) -> Iterator[tuple[str, str, int]]:
        """Split, column and number of every shard."""
        for split, layout in self.splits.items():
            for column, paths in layout.paths.items():
                yield from ((split, column, number) for number in range(len(paths)))

    def record(self, split: str, column: str, number: int) -> dict:
        """Index record (path, bytes, sha256) of a shard."""
        return self.document["splits"][split]["columns"][column]["files"][number]

    def records(self) -> Iterator[tuple[str, dict]]:
        """Relative path and index record (path, bytes, sha256) of every shard."""
        return ((record["path"], record) for record in records_of(self.document))

    def ranges(self, split: str, most: int) -> Iterator[range]:
        """Cut a split into ranges of at most ``most`` samples whose images fit into memory together."""
        number, step = len(self._layout(split)), 1
        if self.uniform:
            step = max(1, min(most, _PIXELS_AT_ONCE // self.size**2))
        return (range(start, min(start + step, number)) for start in range(0, number, step))

    def images(self, split: str, indices: Numbers) -> np.ndarray | list[np.ndarray]:
        """Read images.

        Parameters
        ----------
        split : name of a split.
        indices : n sample numbers, in any order; repeats are allowed.

        Returns
        -------
        (n, H, W, 3) uint8 RGB array in the order of ``indices``, or a list of n arrays (H, W, 3) if sizes vary.

        Raises
        ------
        StoreError : an image does not match its checksum.
        """
        out = np.empty((len(indices), self.size, self.size, 3), np.uint8) if self.uniform else [None] * len(indices)
        for place, image in self.each_image(split, indices):
            out[place] = image
        return out

    def each_image(self, split: str, indices: Numbers) -> Iterator[tuple[int, np.ndarray]]:
        """Read images one by one, shard by shard: faster than :meth:`images` for who needs each only once.

        Yields
        ------
        Position in ``indices``, and (H, W, 3) uint8 array, whose pixels the next image may replace.
        """
        raw = self.document["images"]["codec"] == "raw"
        out = np.empty((self.size, self.size, 3), np.uint8) if raw else None
        return self._each(split, IMAGES, indices, lambda shard, row: shard.read_image(row, out))

    def codes(self, split: str, indices: Numbers) -> list[bytes]:
        """Read the image files of a store whose images are encoded, without decoding them."""
        found = dict(self._each(split, IMAGES, indices, Shard.read_code))
        return [found[place] for place in range(len(indices))]

    def sizes(self, split: str, indices: Numbers) -> np.ndarray:
        """Heights and widths of images, without reading them: (n, 2) integer array."""
        if self.uniform:
            return np.full((len(indices), 2), self.size)
        out = np.empty((len(indices), 2), np.int64)
        for place, size in self._each(split, IMAGES, indices, lambda shard, row: shard.sizes[row]):
            out[place] = size
        return out

    def maps(self, split: str, segments: int, indices: Numbers) -> np.ndarray | list[np.ndarray]:
        """Read the superpixel maps of one segment count.

        Returns
        -------
        (n, H, W) uint8 or uint16 array of ids in the order of ``indices``, or a list of n arrays (H, W) if sizes vary.

        Raises
        ------
        StoreError : the count is not stored, or a map does not match its checksum.
        """
        return self.column_maps(split, self._column(split, segments), indices)

    def each_map(self, split: str, segments: int, indices: Numbers) -> Iterator[tuple[int, np.ndarray]]:
        """Read the maps of one segment count one by one: position in ``indices``, and (H, W) ids, read-only."""
        return self._each(split, self._column(split, segments), indices, Shard.read_map)

    def column_maps(self, split: str, column: str, indices: Numbers) -> np.ndarray | list[np.ndarray]:
        """Read maps from any column by name, for example ``slic-c10-36``; otherwise like :meth:`maps`."""
        if self.uniform:
            dtype = self.document["splits"][split]["columns"][column]["dtype"]
            out = np.empty((len(indices), self.size, self.size), dtype)
        else:
            out = [None] * len(indices)
        for place, ids in self._each(split, column, indices, Shard.read_map):
            out[place] = ids if self.uniform else ids.copy()
        return out

    def labels(self, split: str) -> np.ndarray:
        """All labels of a split: (n,) int64 array. They are in the index; in stores of earlier versions in shards."""
        self._layout(split)
        labels = self.index.labels.get(split)
        return self.shard_labels(split) if labels is None else labels.astype(np.int64)

    def shard_labels(self, split: str) -> np.ndarray:
        """All labels of a split, from its shards: (n,) int64 array."""
        labels = self._of_shards(split, IMAGES, lambda shard: shard.labels, np.int64)
        self.check_labels(split, labels)
        return labels

    def check_labels(self, split: str, labels: np.ndarray) -> None:
        """Refuse labels that no class has. Rows that are no longer in use may have them."""
        try:
            check_labels(f"{split} of {self.path}", labels, len(self.classes))
        except SchemaError as error:
            raise StoreError(f"{error}; {VERIFY}") from None

    def check_sizes(self, split: str, column: str, number: int) -> None:
        """Refuse a shard of maps of other sizes than their images, from which windows are chosen."""
        with self._lock:
            images, maps = (self._samples(split, each, number) for each in (IMAGES, column))
        if not np.array_equal(images.sizes, maps.sizes):
            raise StoreError(f"sizes of {maps.where}: expected those of the images, in {images.where}; {VERIFY}")

    def keys(self, split: str) -> list[str]:
        """All sample keys of a split, for example ``train/daisy/image_0801.jpg``."""
        ordered = self._of_shards(split, IMAGES, lambda shard: shard.keys, object).tolist()
        if len(set(ordered)) != len(ordered):
            twice = next(key for key, count in Counter(ordered).items() if count > 1)
            raise StoreError(f"{split} of {self.path}: expected different keys, got {twice} twice; {VERIFY}")
        return ordered

    def sources(self, split: str) -> list[bytes]:
        """Digest of the source of every image of a split."""
        return self._of_shards(split, IMAGES, lambda shard: shard.sources, object).tolist()

    def suspicious(self, split: str) -> np.ndarray:
        """Bits of all images of a split, as in :mod:`preprocess.suspicious`: (n,) uint8 array."""
        return self._of_shards(split, IMAGES, lambda shard: shard.suspicious, np.uint8)

    def regions(self, split: str, column: str) -> np.ndarray:
        """Number of superpixels in every map of a column: (n,) int64 array."""
        return self._of_shards(split, column, lambda shard: shard.regions, np.int64)

    def boxes(self, split: str) -> np.ndarray:
        """All bounding boxes of a split.

        Returns
        -------
        (n, m, 4) float32 array: edges x0, y0, x1, y1 as fractions of the image's width and height. m is the largest
        number of boxes in an image (0 if the data set has none); images with fewer boxes are padded with NaN.
        """
        boxes = [mine for shard in self._shards_of(split) for mine in shard.boxes]
        most = max(map(len, boxes), default=0)
        if len(boxes) * most > _BOXES_AT_ONCE:
            raise StoreError(
                f"boxes of {split} of {self.path}: expected at most {_BOXES_AT_ONCE:,} with padding, got {len(boxes)} "
                f"images of {most} boxes"
            )
        return self._ordered(split, padded_boxes(boxes))

    def close(self) -> None:
        """Close the shards that this process has opened; the next read reopens them."""
        with self._lock:
            while self._shards:
                self._shards.popitem()[1].close()
            while self._files:
                self._files.popitem()[0].close()
            self._known.clear()
            self._rows = 0
            self._packed.close()
            if self._pack is not None:
                self._pack.close()
                self._pack = None

    def __getstate__(self) -> dict:
        kept = ("path", "packed", "home", "index", "splits", "superpixels")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget_shards()

    def _forget_shards(self) -> None:
        self._shards: OrderedDict[tuple[str, str, int], Shard] = OrderedDict()
        self._known: OrderedDict[tuple[str, str, int], tuple[Shard, Stamp]] = OrderedDict()
        self._rows = 0  # samples and tiles of the known shards
        self._files: OrderedDict[OpenFile, None] = OrderedDict()
        self._pack: h5py.File | None = None
        self._packed = OpenFile(self.path)
        self._lock = threading.RLock()
        _stores.add(self)

    def _map_columns(self) -> list[dict]:
        columns = [entry["columns"] for entry in self.document["splits"].values()]
        return [present[name] for present in columns for name in self.superpixels.columns if name in present]

    def _layout(self, split: str) -> Split:
        if split not in self.splits:
            raise StoreError(f"{self.path} has no split {split!r}; choose from {', '.join(self.splits)}")
        return self.splits[split]

    def _column(self, split: str, segments: int) -> str:
        layout, counts = self._layout(split), [scale.segments for scale in self.scales]
        if segments not in counts:
            raise StoreError(
                f"the superpixels {self.superpixels.name} of {self.path} have no maps of {segments} segments; "
                f"choose from {', '.join(map(str, counts))}"
            )
        column = self.superpixels.columns[counts.index(segments)]
        if column not in layout.paths:
            raise StoreError(f"split {split!r} of {self.path} has no maps {column}; build them for this split too")
        return column

    def _each(
        self, split: str, column: str, indices: Numbers, read: Callable[[Shard, int], Any]
    ) -> Iterator[tuple[int, Any]]:
        """Read samples shard by shard: position in ``indices``, and what was read."""
        layout = self._layout(split)
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            hint = "; pass numpy.flatnonzero(mask)" if wanted.dtype == bool else ""
            raise IndexError(f"expected sample numbers, (n,) integers, got {wanted.shape} {wanted.dtype}{hint}")
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(layout)):
            raise IndexError(f"expected sample numbers of {split} from 0 to {len(layout) - 1}, got {wanted.tolist()}")
        wanted = wanted.astype(np.int64, copy=False)
        numbers, rows = layout.find(wanted)
        for number in np.unique(numbers).tolist() if column != IMAGES and not self.uniform else ():
            self.check_sizes(split, column, number)
        order = np.lexsort((rows, numbers))
        for place, number, row in zip(*(part.tolist() for part in (order, numbers[order], rows[order])), strict=True):
            with self._lock:
                found = read(self._samples(split, column, number), row)
            yield place, found

    def _shards_of(self, split: str, column: str = IMAGES) -> Iterator[Shard]:
        with self._lock:
            for number in range(len(self._layout(split).paths[column])):
                yield self.open_shard(split, column, number)

    def _of_shards(self, split: str, column: str, read: Callable[[Shard], Any], dtype: type) -> np.ndarray:
        """Read one value per sample from all shards of a column, in the order of the samples."""
        parts = [np.asarray(read(shard), dtype) for shard in self._shards_of(split, column)]
        return self._ordered(split, np.concatenate([np.empty(0, dtype), *parts]))

    def _ordered(self, split: str, stored: np.ndarray) -> np.ndarray:
        """Reorder values from shard order to sample order."""
        layout = self.splits[split]
        if layout.places is None:
            return stored
        return stored[layout.starts[layout.places[:, 0]] + layout.places[:, 1]]

    def open_shard(self, split: str, column: str, number: int) -> Shard:
        """Open a shard of a column, with all that it lists; reuses an open one."""
        place = split, column, number
        shard = self._shards.pop(place, None)
        if shard is None:
            while len(self._shards) >= _open_shards():
                self._shards.popitem(last=False)[1].close()
            shard = self._open(*place)
        self._shards[place] = shard
        return shard

    def _samples(self, split: str, column: str, number: int) -> Shard:
        """A shard that is open for its samples alone, which takes no HDF5 but once; the caller holds the lock."""
        place = split, column, number
        shard, stamp = self._known.get(place, (None, None))
        if shard is not None and self._open_file(shard) != stamp:  # another file has its name now
            self._forget(place)
            shard = None
        if shard is None:
            shard = self._open(*place)
            shard.release()
            stamp = self._open_file(shard)
            self._rows += shard.places
            while self._known and self._rows > _MOST_ROWS:
                self._forget(next(iter(self._known)))
            self._known[place] = shard, stamp
        self._known.move_to_end(place)
        return shard

    def _forget(self, place: tuple[str, str, int]) -> None:
        self._rows -= self._known.pop(place)[0].places

    def _open_file(self, shard: Shard) -> Stamp:
        """Open the file of a shard unless it is open, and close those that were not read for the longest time."""
        file = shard.file
        if not file.is_open:
            while len(self._files) >= _open_shards():
                self._files.popitem(last=False)[0].close()
        try:
            stamp = file.open()
        except OSError as error:
            raise StoreError(f"{shard.where} cannot be read ({error}); {VERIFY}") from None
        self._files[file] = None
        self._files.move_to_end(file)
        return stamp

    def _leave_parent(self) -> None:
        """Forget what is open in the process that was forked, and its lock, which a thread may hold there."""
        _inherited.extend((self._pack, *(shard.group for shard in self._shards.values())))
        self._forget_shards()

    def _open(self, split: str, column: str, number: int) -> Shard:
        relative = self.splits[split].paths[column][number]
        form = form_of(self.document, split, column, number)
        if not self.packed:
            return Shard.open(shard_path(self.home, relative), form)
        if self._pack is None:
            try:
                self._pack = open_hdf5(self.path)
            except OSError as error:
                raise StoreError(f"{self.path} cannot be read ({error}); {VERIFY}") from None
        return Shard.within(self._pack, relative, self._packed, form)


def _open_shards() -> int:
    """Largest number of shards open with HDF5, and for their samples: each an eighth of the limit on open files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1
    return _MOST_OPEN_SHARDS if limit < 0 else max(1, min(_MOST_OPEN_SHARDS, limit // 8))


def _leave_parents() -> None:
    """Called in a fork before any of its threads can read."""
    for store in list(_stores):
        store._leave_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_parents)
