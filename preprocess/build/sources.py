"""Source files against what a store was made from: what is stored, what was touched, what was edited."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.datasets import Sample
from preprocess.errors import DatasetError, ImageError, StoreError
from preprocess.store.format import check_file
from preprocess.store.index import IMAGES
from preprocess.store.shard import Shard


@dataclass(frozen=True)
class Stored:
    """One image in a store.

    Parameters
    ----------
    shard, row : where it lies.
    label : class number.
    source : digest of what it was made from (:meth:`preprocess.datasets.Sample.digest`).
    """

    shard: int
    row: int
    label: int
    source: bytes


def stored_images(
    home: Path, shards: tuple[dict[str, dict], ...], places: np.ndarray | None, checked: bool = False
) -> dict[str, Stored]:
    """What the shards of a split hold now, by key. Shards that cannot be read hold nothing.

    Parameters
    ----------
    home : folder of the index.
    shards : for each shard, column name -> record.
    places : (n, 2) int array: shard and row of every sample; None where all rows count.
    checked : read every shard and compare its digest.
    """
    found: dict[str, Stored] = {}
    current = None if places is None else {tuple(place) for place in places.tolist()}
    for number, known in enumerate(shards):
        path, record = home / known[IMAGES]["path"], known[IMAGES]
        try:
            if checked and check_file(path, "shard") != (record["bytes"], record["sha256"]):
                continue
            shard = Shard.open(path)
        except StoreError:
            continue
        with contextlib.closing(shard), contextlib.suppress(StoreError):
            listed = zip(shard.keys, shard.labels.tolist(), shard.sources, strict=True)
            for row, (key, label, source) in enumerate(listed):
                if current is None or (number, row) in current:
                    found[key] = Stored(number, row, label, source)
    return found


def edited(samples: Iterable[Sample], shard: Path) -> list[str]:
    """Keys of the images whose files no longer hold what an image shard was made from.

    Only files that were touched since the shard was published are read: a change of content always moves ctime, which
    no copying tool sets back.
    """
    touched = [sample for sample in samples if touched_at(sample.path) >= published_at(shard)]
    known = sources_of(shard) if touched else {}
    return [sample.key for sample in touched if sample.key in known and known[sample.key] != source_of(sample)]


def sources_of(shard: Path) -> dict[str, bytes]:
    """Digest of what every image in a shard was made from, by key."""
    opened = Shard.open(shard)
    try:
        return dict(zip(opened.keys, opened.sources, strict=True))
    finally:
        opened.close()


def source_of(sample: Sample) -> bytes:
    """Digest of what an image would be made from now; empty if it cannot be read."""
    try:
        return sample.digest(sample.read())
    except (OSError, ImageError, DatasetError):
        return b""


def touched_at(path: Path) -> int:
    """Time of the last change, which no copying tool sets back; -1 if there is no such file."""
    return getattr(_status(path), "st_ctime_ns", -1)


def published_at(path: Path) -> int:
    """Time at which a shard was published; -1 if there is none."""
    return getattr(_status(path), "st_mtime_ns", -1)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
