"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 32x32 pixels in Python pickles, which are parsed safely."""

import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Listing, Request, Sample, locate
from preprocess.datasets.metadata import RESTORE
from preprocess.datasets.pickles import as_text, load_pickle
from preprocess.errors import DatasetError

_SIDE = 32
_HEADER = b"P6\n32 32\n255\n"  # of a portable pixmap, the simplest image file
_opened = threading.local()


@dataclass(frozen=True, slots=True)
class Row(Sample):
    """One image of a batch file."""

    row: int = 0  # index of the image in the file

    def read(self) -> bytes:
        """The image as a lossless portable pixmap."""
        planes = _rows_of(self.path)[self.row].reshape(3, _SIDE, _SIDE)
        return _HEADER + planes.transpose(1, 2, 0).tobytes()


@dataclass(frozen=True)
class Layout:
    """The files of a set."""

    meta: str  # file with the class names
    names: str  # name of their entry
    labels: str  # name of the entry with the labels of a batch
    splits: dict[str, tuple[str, ...]]  # split name -> its files


_LAYOUT_10 = Layout(
    "batches.meta",
    "label_names",
    "labels",
    {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
)
_LAYOUT_100 = Layout("meta", "fine_label_names", "fine_labels", {"train": ("train",), "test": ("test",)})


def find_cifar(layout: Layout, folder: str, root: Path, request: Request = EVERYTHING) -> Listing:
    """List CIFAR in its official layout.

    ``root`` is the folder with the official name ``folder``, or up to two levels above it. Images are in the order of
    the files and their rows. Keys are file, row and official image name: ``data_batch_1/00000-camion_s_000148.png``.
    """
    home = locate(root, f"{folder}/{layout.meta}", layout.meta).parent
    classes = _texts(load_pickle(home / layout.meta), layout.names, home / layout.meta)
    splits, tables = {}, [home / layout.meta]
    for split, names in layout.splits.items():
        if not request.wants(split):
            continue
        tables += [home / name for name in names]
        splits[split] = tuple(sample for name in names for sample in _samples(home / name, layout, len(classes)))
    return Listing(tuple(classes), splits, tables=tuple(tables))


def _samples(path: Path, layout: Layout, classes: int) -> list[Row]:
    batch = load_pickle(path)
    count, labels = len(_pixels(batch, path)), _entry(batch, layout.labels, path)
    names = _texts(batch, "filenames", path)
    if not count == len(labels) == len(names):
        raise DatasetError(f"{path} has {count} images, {len(labels)} labels and {len(names)} file names; {RESTORE}")
    samples = []
    for row, (label, name) in enumerate(zip(labels, names, strict=True)):
        if not (isinstance(label, int | np.integer) and 0 <= label < classes):
            raise DatasetError(f"{path}: expected labels 0 to {classes - 1}, got {label!r} in row {row}; {RESTORE}")
        samples.append(Row(f"{path.name}/{row:05d}-{name}", int(label), path, row=row))
    return samples


def _rows_of(path: Path) -> np.ndarray:
    """Pixels of a batch file, (N, 3072) uint8. Each thread caches one file, because shards read files in order."""
    status = path.stat()
    stamp = (path, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    if getattr(_opened, "stamp", None) != stamp:
        _opened.rows = _pixels(load_pickle(path), path)
        _opened.stamp = stamp
    return _opened.rows


def _pixels(batch: dict[str, Any], path: Path) -> np.ndarray:
    rows = _entry(batch, "data", path)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3 * _SIDE * _SIDE,):
        raise DatasetError(f"{path}: expected (N, {3 * _SIDE * _SIDE}) uint8 data; {RESTORE}")
    return rows


def _texts(batch: dict[str, Any], name: str, path: Path) -> list[str]:
    texts = list(_entry(batch, name, path))
    if odd := [type(text).__name__ for text in texts if not isinstance(text, bytes | str)]:
        raise DatasetError(f"{path}: expected strings in {name}, got {odd[0]}; {RESTORE}")
    return [as_text(text) for text in texts]


def _entry(batch: dict[str, Any], name: str, path: Path) -> Any:
    if not hasattr(batch.get(name), "__len__"):
        raise DatasetError(f"{path} has no {name}, so it does not belong to this set; {RESTORE}")
    return batch[name]


_HOME = "https://www.cs.toronto.edu/~kriz"

CIFAR100 = Adapter(
    summary="CIFAR-100 (Krizhevsky, 2009), by fine label",
    find=functools.partial(find_cifar, _LAYOUT_100, "cifar-100-python"),
    layout="cifar-100-python/{meta, train, test}",
    source=f"{_HOME}/cifar.html",
    licence="none stated; cite the technical report",
    archives=(
        Archive("cifar-100-python.tar.gz", f"{_HOME}/cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    counts={"train": 50_000, "test": 10_000},
    classes=100,
    size=_SIDE,
    codec="raw",
    segments="30:35",
    compactness=8.0,
)

# The superpixels are inferred: as published for CIFAR-100.
CIFAR10 = replace(
    CIFAR100,
    summary="CIFAR-10 (Krizhevsky, 2009)",
    find=functools.partial(find_cifar, _LAYOUT_10, "cifar-10-batches-py"),
    layout="cifar-10-batches-py/{batches.meta, data_batch_1 to data_batch_5, test_batch}",
    archives=(
        Archive("cifar-10-python.tar.gz", f"{_HOME}/cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
    ),
    classes=10,
)
