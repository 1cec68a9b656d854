"""The work of one worker: store the images and maps of one range."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess.build.plan import Task, shard_key
from preprocess.build.settings import BuildSettings, MapColumn
from preprocess.build.sources import edited, set_built_at
from preprocess.datasets import Box, Sample
from preprocess.errors import BuildError, ImageError, StoreError
from preprocess.images import decode_source, encode, fit
from preprocess.store.format import IMAGES, check_file, key_of
from preprocess.store.place import own_shard, shard_path
from preprocess.store.shard import Form, Shard
from preprocess.store.writer import ImageShard, MapShard, Sealed
from preprocess.superpixels import ALGORITHMS
from preprocess.text import listed


@dataclass(frozen=True)
class Report:
    """The result of a task, small enough to send between processes."""

    task: tuple[str, int]  # split and number of the range
    records: dict[str, dict]  # column name -> path, bytes and sha256 of its shard
    rows: int  # number of usable images in the range
    failed: list[dict[str, str]]  # key, reason and SHA-256 of the unusable images
    regions: dict[str, np.ndarray]  # column name -> (rows,) array, number of superpixels in every map
    maps_computed: int  # number of maps computed by this run
    # Kind of warning -> number of images whose decoder gave it, and the key of one; of shards that no index lists yet.
    warned: dict[str, tuple[int, str]]


def run_task(task: Task, home: Path, stem: str, settings: BuildSettings) -> Report:
    """Store the missing shards of one range; depends only on its arguments."""
    images = _store_images(task, home, stem, settings)
    key = shard_key(images["path"])
    records: dict[str, dict] = {IMAGES: images}
    paths = {}
    for column in task.columns:
        known = task.known.get(column.name)
        planned = key_of({"maps": column.recipe(), "images": key})
        paths[column.name] = known["path"] if known else place(stem, task, column.name, planned)
        kept = _kept(home, paths[column.name], known)
        if kept is not None:
            records[column.name] = kept
    missing = [column for column in task.columns if column.name not in records]
    with closing(Shard.open(shard_path(home, images["path"]), settings.form())) as shard:
        for column, sealed in _cut(shard, missing, settings):
            records[column.name] = _published(home, stem, paths[column.name], sealed)
        regions = {
            column.name: regions_of(home, records[column.name]["path"], settings.form(column))
            for column in task.columns
        }
        computed = len(missing) * len(shard)
        said = [] if IMAGES in task.known else shard.warned()
        warned = {each["kind"]: (each["count"], each["example"]) for each in said}
        return Report((task.split, task.number), records, len(shard), shard.failed(), regions, computed, warned)


def place(stem: str, task: Task, column: str, key: str) -> str:
    """Return the path of a shard, relative to the folder of the index."""
    return f"{stem}.shards/{task.split}/{column}/{task.number:05d}-{key}.h5"


def _store_images(task: Task, home: Path, stem: str, settings: BuildSettings) -> dict:
    """Return the record of the image shard; build it if it is missing."""
    known = task.known.get(IMAGES)
    path = known["path"] if known else place(stem, task, IMAGES, task.key)
    images = _kept(home, path, known)
    changed = known is None and images is not None and bool(edited(task.samples, home / path, settings.form()))
    if images is not None and not changed:
        return images
    if known is not None and not task.samples:
        raise BuildError(
            f"{home / path} is missing or damaged; rebuild its images with build --update or verify --repair"
        )
    begin = time.time_ns()
    shard, failed, warned = read_sources(task.samples, settings)
    if known is None and (failed or changed):
        # The content differs from what the planned key stands for, so this shard needs another key.
        without = [failure["key"] for failure in failed]
        sources = [digest.hex() for digest in shard.sources]
        path = place(stem, task, IMAGES, key_of({"of": task.key, "without": without, "sources": sources}))
        images = _kept(home, path, None)
        if images is not None:
            return images
    sealed = shard.finish(failed, warned)
    if known is not None and warned and sealed.digest != known["sha256"]:  # earlier versions kept no warnings
        shard, failed, _ = read_sources(task.samples, settings)
        sealed = shard.finish(failed)
    if known is not None and sealed.digest != known["sha256"]:
        raise BuildError(
            f"{home / path} cannot be rebuilt bit for bit: its source images were edited, or other versions of Pillow "
            "or HDF5 are installed; store the current images with build --update"
        )
    published = _published(home, stem, path, sealed)
    set_built_at(home / path, begin)
    return published


def read_sources(
    samples: Sequence[Sample], settings: BuildSettings
) -> tuple[ImageShard, list[dict[str, str]], list[dict]]:
    """Decode the images of a range; return the shard of usable ones, the failures, and the warnings of decoders."""
    shape = (settings.size, settings.size) if settings.codec == "raw" else None
    shard, failed = ImageShard(len(samples), shape, varied=not settings.uniform), []
    warned: dict[str, tuple[int, str]] = {}
    for sample in samples:
        source = b""
        try:
            data = sample.read()
            source = sample.digest(data)
            decoded = decode_source(data, settings.banner)
            stored, size = _stored_form(decoded.image, b"" if settings.banner else data, settings)
            boxes = _fractions(sample.boxes, decoded.image)
        except (ImageError, OSError) as error:
            reason = str(error) if isinstance(error, ImageError) else f"cannot be read: {error.strerror}"
            failed.append({"key": sample.key, "reason": reason, "source": source.hex()})
        else:
            shard.add(stored, size, sample.label, sample.key, source, boxes, decoded.suspicious)
            warned = joined_warnings(warned, dict.fromkeys(decoded.warned, (1, sample.key)))
    return shard, failed, [{"kind": kind, "count": count, "example": key} for kind, (count, key) in warned.items()]


def _stored_form(
    image: Image.Image, data: bytes, settings: BuildSettings
) -> tuple[np.ndarray | bytes, tuple[int, int]]:
    if settings.codec == "raw":
        pixels = fit(image, settings.size, settings.resize)
        return pixels, pixels.shape[:2]
    return encode(image, data, settings.size, settings.resize, settings.codec, settings.quality)


def _fractions(boxes: tuple[Box, ...], image: Image.Image) -> np.ndarray:
    """Convert boxes from source pixels to fractions of width and height, valid at any stored size."""
    return np.clip(np.reshape(boxes, (-1, 4)) / (*image.size, *image.size), 0, 1).astype(np.float32)


def _cut(shard: Shard, columns: list[MapColumn], settings: BuildSettings) -> list[tuple[MapColumn, Sealed]]:
    """Segment every image of a shard, as training will see it, at every requested scale."""
    if not columns:
        return []
    if unknown := {column.algorithm for column in columns} - ALGORITHMS.keys():
        raise BuildError(f"this program has no superpixel algorithm {listed(sorted(unknown))}, which the store names")
    varied = not settings.uniform
    shape = shard.sizes.max(axis=0, initial=1) if varied else (settings.size, settings.size)
    shards = {column.name: MapShard(len(shard), tuple(map(int, shape)), column.dtype, varied) for column in columns}
    alike = [list(group) for _, group in groupby(sorted(columns, key=_way), key=_way)]
    for row in range(len(shard)):
        image = shard.read_image(row)
        for group in alike:
            counts = tuple(column.segments for column in group)
            found = ALGORITHMS[group[0].algorithm].segment(image, counts, group[0].compactness)
            for column, ids in zip(group, found, strict=True):
                _check_ids(column, ids)
                shards[column.name].add(ids)
    return [(column, shards[column.name].finish()) for column in columns]


def _way(column: MapColumn) -> tuple[str, float]:
    return column.algorithm, column.compactness or 0.0


def _check_ids(column: MapColumn, ids: np.ndarray) -> None:
    if not 0 <= ids.min() <= ids.max() < np.iinfo(column.dtype).max:
        raise BuildError(
            f"{column.algorithm} returned ids {ids.min()} to {ids.max()}, which {column.dtype} cannot hold"
        )


def _kept(home: Path, path: str, known: dict | None) -> dict | None:
    """Return the record of an intact published shard; None if it is missing, damaged or not the indexed one."""
    try:
        size, digest = check_file(shard_path(home, path), "shard")
    except StoreError:
        return None
    if known is not None and digest != known["sha256"]:
        return None
    return {"path": path, "bytes": size, "sha256": digest}


def _published(home: Path, stem: str, path: str, sealed: Sealed) -> dict:
    return {"path": path, "bytes": sealed.publish(own_shard(home, stem, path)), "sha256": sealed.digest}


def joined_warnings(*found: dict[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Join the warnings of several reports: the numbers are added, and the first key is kept."""
    joined: dict[str, tuple[int, str]] = {}
    for kind, (count, key) in (item for each in found for item in each.items()):
        before = joined.get(kind, (0, key))
        joined[kind] = before[0] + count, before[1]
    return joined


def describe_warnings(reports: Iterable[Report]) -> Iterator[str]:
    """Yield a line for each kind of warning of decoders."""
    for kind, (count, key) in joined_warnings(*(report.warned for report in reports)).items():
        images = "an image was decoded" if count == 1 else f"{count:,} images were decoded"
        yield f"{images} with a warning: {kind} ({key}{', ...' if count > 1 else ''})"


def regions_of(home: Path, path: str, form: Form) -> np.ndarray:
    """Return the number of superpixels in every map of a shard, a (rows,) array."""
    with closing(Shard.open(shard_path(home, path), form)) as shard:
        return shard.regions
