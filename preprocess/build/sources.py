"""Compare source files with the sources recorded in a store, to find edited images."""

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.datasets import Sample
from preprocess.errors import DatasetError, ImageError, StoreError
from preprocess.store.format import IMAGES, check_file
from preprocess.store.place import shard_path
from preprocess.store.shard import Form, Shard

_TICK = 20_000_000  # nanoseconds by which the clock of a file system may be behind


@dataclass(frozen=True)
class Stored:
    """One image in a store."""

    shard: int
    row: int
    label: int
    source: bytes  # digest of its source (:meth:`preprocess.datasets.Sample.digest`)


def stored_images(
    home: Path, shards: tuple[dict[str, dict], ...], places: np.ndarray | None, form: Form, checked: bool = False
) -> dict[str, Stored]:
    """Return the images of a split by key; skip unreadable shards.

    Parameters
    ----------
    shards : for each shard, column name -> record.
    places : (n, 2) int array, shard and row of every sample; None if all rows are in use.
    form : the form of a shard of images.
    checked : also compare the digest of every shard, which reads all of it.
    """
    found: dict[str, Stored] = {}
    current = None if places is None else {tuple(place) for place in places.tolist()}
    for number, known in enumerate(shards):
        record = known[IMAGES]
        try:
            path = shard_path(home, record["path"])
            if checked and check_file(path, "shard") != (record["bytes"], record["sha256"]):
                continue
            shard = Shard.open(path, form)
        except StoreError:
            continue
        with contextlib.closing(shard), contextlib.suppress(StoreError):
            listed = zip(shard.keys, shard.labels.tolist(), shard.sources, strict=True)
            for row, (key, label, source) in enumerate(listed):
                if current is None or (number, row) in current:
                    found[key] = Stored(number, row, label, source)
    return found


def edited(samples: Iterable[Sample], shard: Path, form: Form) -> list[str]:
    """Return the keys of images whose source files changed after the shard was built.

    Only files touched since the shard was built are read. A change of content always updates ctime, and no copying
    tool sets it back.
    """
    touched = [sample for sample in samples if touched_at(sample.path) >= built_at(shard)]
    known = sources_of(shard, form) if touched else {}
    return [sample.key for sample in touched if sample.key in known and known[sample.key] != source_of(sample)]


def sources_of(shard: Path, form: Form) -> dict[str, bytes]:
    """Return the source digest of every image in a shard, by key."""
    with contextlib.closing(Shard.open(shard, form)) as opened:
        return dict(zip(opened.keys, opened.sources, strict=True))


def source_of(sample: Sample) -> bytes:
    """Return the digest of the current source; empty if it cannot be read."""
    try:
        return sample.digest(sample.read())
    except (OSError, ImageError, DatasetError):
        return b""


def touched_at(path: Path) -> int:
    """Return the ctime of a file in nanoseconds; -1 if it is missing."""
    return getattr(_status(path), "st_ctime_ns", -1)


def built_at(path: Path) -> int:
    """Return the mtime of a shard in nanoseconds, when its sources were about to be read.

    -1 if it is missing, or lies ahead: then the clock was set back, and every source counts as touched.
    """
    time_ns = getattr(_status(path), "st_mtime_ns", -1)
    return time_ns if time_ns <= time.time_ns() else -1


def set_built_at(path: Path, time_ns: int) -> None:
    """Date a shard back to when its sources were about to be read: a change meanwhile is a change."""
    with contextlib.suppress(OSError):  # another build may have removed it
        os.utime(path, ns=(time_ns - _TICK, time_ns - _TICK))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
