"""Collect the data for the report on a store.

Damage never stops the reading: what cannot be read is listed in ``troubles`` and left out of the figures.
"""

import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from preprocess.errors import PreprocessError, StoreError
from preprocess.inspect.sheet import Panel, found_title, outlined, spread, subsampled
from preprocess.store import Store
from preprocess.store.format import IMAGES
from preprocess.store.shard import VERIFY, Shard
from preprocess.superpixels import ALGORITHMS, Scale
from preprocess.suspicious import KINDS, text_of
from preprocess.text import shortened

T = TypeVar("T")

_MEASURED = 32  # images on which reading and segmenting are timed
_ODD, _ODD_COLUMNS = 8, 4  # suspicious images that are shown of each kind
_PATIENCE = 20.0  # seconds after which no further image is timed, for photographs of many megapixels

Advance = Callable[[], None]
Stage = Callable[[str, int], Advance]


@dataclass(frozen=True)
class ScaleReport:
    """The maps of one scale in one split."""

    scale: Scale
    found: np.ndarray  # (n,) int array: number of superpixels of every readable map
    pixels: np.ndarray  # int array: size in pixels of every superpixel of the sampled maps


@dataclass(frozen=True)
class SplitReport:
    """One split."""

    name: str
    images: int  # number of images in the index
    entry: dict  # the split's entry in the index
    per_class: np.ndarray  # (classes,) int array: number of images of every class, as far as labels can be read
    boxes: int  # number of bounding boxes
    shapes: np.ndarray  # (n, 2) int array of height and width if image sizes vary; else no rows
    scales: tuple[ScaleReport, ...]  # the scales of the selected superpixels; empty if the split has no maps of them
    sampled: int  # number of images that were read for ``pixels``
    sheet: list[list[Panel]]  # rows of panels


@dataclass(frozen=True)
class OddReport:
    """Images of one kind that were probably not meant to be stored so, in one split."""

    split: str
    text: str  # what they do
    count: int
    examples: list[str]  # keys of the first
    sheet: list[list[Panel]]  # rows of panels


@dataclass(frozen=True)
class Written:
    """When the shards of a column were written, by the modification times of their files."""

    split: str
    column: str
    first: float  # seconds since 1970
    last: float


@dataclass(frozen=True)
class Measured:
    """Timings on this machine."""

    images: int  # number of timed images
    split: str  # their split
    processors: int  # cores available to this process
    rows: list[tuple[str, float]]  # (step, median milliseconds)
    unknown: str | None  # name of the store's algorithm if this program does not have it and cannot time it; else None


@dataclass(frozen=True)
class StoreReport:
    """The data of the report."""

    store: Store
    splits: list[SplitReport]
    odd: list[OddReport]
    troubles: list[str]  # what cannot be read, one line each
    written: list[Written]  # when the shards were written, by column; empty for a packed store
    measured: Measured | None  # timings; None if no image can be read


def gather(store: Store, count: int, samples: int, processors: int, stage: Stage) -> StoreReport:
    """Read the data of the report on the selected superpixels of a store.

    Parameters
    ----------
    count : number of images on a contact sheet.
    samples : number of images of each split to read for the sizes of superpixels.
    processors : number of cores, shown with the timings.
    stage : (name, steps) -> a function to call after each step.
    """
    reading = _Reading(store)
    splits = [_read_split(reading, name, count, samples, stage) for name in store.splits]
    odd = [each for name in store.splits for each in _read_odd(reading, name)]
    measured = next((_measure(reading, split, processors, stage) for split in splits if split.sheet), None)
    return StoreReport(store, splits, odd, list(reading.troubles), _written(store), measured)


def _written(store: Store) -> list[Written]:
    """Modification times of the existing shards. The bytes of a store do not depend on time, so it has no others."""
    if store.packed:
        return []
    found = []
    for split, entry in store.document["splits"].items():
        for name, column in entry["columns"].items():
            paths = [store.home / record["path"] for record in column["files"]]
            times = [path.stat().st_mtime for path in paths if path.is_file()]
            found += [Written(split, name, min(times), max(times))] if times else []
    return found


class _Reading:
    """Reads what can be read; ``troubles`` lists what cannot, without duplicates, in order of occurrence."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lost = set(store.missing())
        home = f"{store.home}{os.sep}"
        self._home = "" if home == f".{os.sep}" else home
        self.troubles = dict.fromkeys(f"shard {path} is missing or has the wrong size" for path in sorted(self._lost))

    def shards(self, split: str, column: str, samples: Sequence[int]) -> Iterator[tuple[Shard, np.ndarray]]:
        """Yield every readable shard that contains some of these samples, with their rows in it."""
        numbers, rows = self.store.splits[split].find(np.asarray(samples, np.int64))
        order = np.argsort(numbers, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(group):
                shard = self.attempt(self._open, split, column, int(numbers[group[0]]))
                if shard is not None:
                    yield shard, rows[group]

    def attempt(self, read: Callable[..., T], *arguments: object) -> T | None:
        """Call a function that reads; on damage, record it in ``troubles`` and return None."""
        try:
            return read(*arguments)
        except PreprocessError as error:
            # Relative paths, as in the index: the report may be shared, and should not show this machine's folders.
            self.troubles[str(error).split("; run: ")[0].replace(self._home, "")] = None
            return None

    def values(self, split: str, column: str, read: Callable[[Shard], np.ndarray], advance: Advance) -> np.ndarray:
        """One row of integers for every sample of a split in a readable shard: (n, k) array."""
        found, layout = [], self.store.splits[split]
        for number in range(len(layout.paths[column])):
            # The shard first: how many rows it has is only known once it is open.
            shard = self.attempt(self._open, split, column, number)
            values = None if shard is None else self.attempt(read, shard)
            if values is not None:
                found.append(values[layout.rows_in_use(number)].astype(np.int64))
            advance()
        return np.concatenate(found) if found else np.empty((0, 4), np.int64)

    def _open(self, split: str, column: str, number: int) -> Shard | None:
        lost = self.store.record(split, column, number)["path"] in self._lost
        return None if lost else self.store.open_shard(split, column, number)


def _read_split(reading: _Reading, name: str, count: int, samples: int, stage: Stage) -> SplitReport:
    store, layout = reading.store, reading.store.splits[name]
    chosen = spread(len(layout), samples)
    columns = store.superpixels.columns if store.has_maps(name) else ()
    shards = sum(len(layout.paths[column]) for column in (IMAGES, *columns))
    advance = stage(name, shards + (1 + len(columns)) * len(chosen))
    listed = reading.values(name, IMAGES, _listed, advance)
    reading.attempt(store.check_labels, name, listed[:, 0])
    listed = listed[listed[:, 0] < len(store.classes)]
    _check_images(reading, name, chosen, advance)
    scales = tuple(
        _read_scale(reading, name, *each, chosen, advance) for each in zip(store.scales, columns, strict=False)
    )
    return SplitReport(
        name=name,
        images=len(layout),
        entry=store.document["splits"][name],
        per_class=np.bincount(listed[:, 0], minlength=len(store.classes)),
        boxes=int(listed[:, 1].sum()),
        shapes=listed[: 0 if store.uniform else None, 2:],
        scales=scales,
        sampled=len(chosen),
        sheet=_sheet(reading, name, spread(len(layout), count), columns),
    )


def _read_odd(reading: _Reading, split: str) -> Iterator[OddReport]:
    """Read the first suspicious images of each kind."""
    stated = reading.store.document["splits"][split].get("suspicious", {})
    bits = reading.attempt(reading.store.suspicious, split) if stated else None
    for kind, entry in stated.items():
        panels: list[Panel] = []
        chosen = [] if bits is None else np.flatnonzero(bits & KINDS[kind])[:_ODD].tolist()
        for sample, key in zip(chosen, entry["examples"], strict=False):
            image = _one(reading, split, IMAGES, sample, Shard.read_image)
            if image is not None:
                panels.append((key if len(key) <= 32 else f"…{key[-31:]}", subsampled(image)))
        panels += [("", None)] * (-len(panels) % _ODD_COLUMNS)
        sheet = [panels[start : start + _ODD_COLUMNS] for start in range(0, len(panels), _ODD_COLUMNS)]
        yield OddReport(split, text_of(kind, entry["count"]), entry["count"], entry["examples"], sheet)


def _listed(shard: Shard) -> np.ndarray:
    """Label, number of boxes, height and width of every image in a shard: (rows, 4) array."""
    boxes = np.isfinite(shard.boxes).all(axis=2).sum(axis=1)
    sizes = np.zeros((len(shard), 2), int) if shard.sizes is None else shard.sizes
    return np.column_stack([shard.labels, boxes, sizes])


def _check_images(reading: _Reading, split: str, chosen: list[int], advance: Advance) -> None:
    """Compare images with their checksums, without decoding them."""
    for shard, rows in reading.shards(split, IMAGES, chosen):
        for row in rows.tolist():
            reading.attempt(shard.check_row, row)
            advance()


def _read_scale(
    reading: _Reading, split: str, scale: Scale, column: str, chosen: list[int], advance: Advance
) -> ScaleReport:
    found = reading.values(split, column, lambda shard: shard.regions[:, None], advance)[:, 0]
    pixels = [np.empty(0, np.int64)]
    for shard, rows in reading.shards(split, column, chosen):
        for row in rows.tolist():
            ids = reading.attempt(shard.read_map, row)
            pixels += [] if ids is None else [np.bincount(ids.ravel())]
            advance()
    return ScaleReport(scale, found, np.concatenate(pixels))


def _sheet(reading: _Reading, split: str, chosen: list[int], columns: tuple[str, ...]) -> list[list[Panel]]:
    store, rows = reading.store, []
    for sample in chosen:
        image = _one(reading, split, IMAGES, sample, Shard.read_image)
        label = _one(reading, split, IMAGES, sample, lambda shard, row: shard.labels[row])
        if image is None or label is None or label >= len(store.classes):
            continue
        title = f"{sample}: {store.classes[label]}"
        panels: list[Panel] = [(shortened(title, 32), subsampled(image))]
        for scale, column in zip(store.scales, columns, strict=False):
            ids = _one(reading, split, column, sample, functools.partial(_map_of, image))
            if ids is None:
                panels.append((f"{scale.segments} requested, cannot be read", None))
            else:
                drawn = outlined(subsampled(image), subsampled(ids))
                panels.append((found_title(scale.segments, ids), drawn))
        rows.append(panels)
    return rows


def _map_of(image: np.ndarray, shard: Shard, row: int) -> np.ndarray:
    ids = shard.read_map(row)
    if ids.shape != image.shape[:2]:
        raise StoreError(f"sample {row} of {shard.where}: expected the size of its image; {VERIFY}")
    return ids


def _one(reading: _Reading, split: str, column: str, sample: int, read: Callable) -> object | None:
    for shard, rows in reading.shards(split, column, [sample]):
        return reading.attempt(read, shard, int(rows[0]))
    return None


def _measure(reading: _Reading, split: SplitReport, processors: int, stage: Stage) -> Measured:
    """Time reading and segmenting, one image at a time."""
    store, chosen = reading.store, spread(split.images, _MEASURED)
    advance = stage("timings", len(chosen))
    counts = tuple(scale.segments for scale in store.scales)
    algorithm = ALGORITHMS.get(store.superpixels.algorithm)
    if algorithm is not None:  # compile before timing
        algorithm.segment(np.zeros((16, 16, 3), np.uint8), counts[:1], store.superpixels.compactness)
    steps: dict[str, list[float]] = {}
    begin, timed = time.perf_counter(), 0
    for sample in chosen:
        images = _timed(steps, "read an image", store.images, split.name, [sample])
        for scale, column in zip(split.scales, store.superpixels.columns, strict=False):
            _timed(steps, f"read its map of {scale.scale.segments}", store.column_maps, split.name, column, [sample])
        timed += images is not None
        if images is not None and algorithm is not None:
            what = f"segment it with {store.superpixels.algorithm}, {len(counts)} scales at once"
            _timed(steps, what, algorithm.segment, images[0], counts, store.superpixels.compactness)
        advance()
        if time.perf_counter() - begin > _PATIENCE:
            break
    rows = [(what, 1000 * statistics.median(seconds)) for what, seconds in steps.items() if seconds]
    unknown = store.superpixels.algorithm if algorithm is None else None
    return Measured(timed, split.name, processors, rows, unknown)


def _timed(steps: dict[str, list[float]], what: str, work: Callable, *arguments: object) -> object | None:
    """Call ``work`` and record its seconds; None on damage, which is already listed."""
    kept, begin = steps.setdefault(what, []), time.perf_counter()
    try:
        result = work(*arguments)
    except PreprocessError:
        return None
    kept.append(time.perf_counter() - begin)
    return result
