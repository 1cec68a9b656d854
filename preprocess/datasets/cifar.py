"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 32x32 pixels in Python pickles, which are read without being trusted."""

import functools
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.base import Adapter, Archive, Listing, Sample, locate
from preprocess.datasets.metadata import REMEDY
from preprocess.errors import DatasetError

_SIDE = 32
_HEADER = b"P6\n32 32\n255\n"  # a portable pixmap: the plainest image file there is
_opened = threading.local()


@dataclass(frozen=True)
class Row(Sample):
    """One image of a batch file.

    Parameters
    ----------
    row : its place in the file.
    """

    row: int = 0

    def read(self) -> bytes:
        """The image as a portable pixmap, without loss."""
        planes = _rows_of(self.path)[self.row].reshape(3, _SIDE, _SIDE)
        return _HEADER + planes.transpose(1, 2, 0).tobytes()


@dataclass(frozen=True)
class Layout:
    """How a set is cut into files.

    Parameters
    ----------
    meta, names : the file of class names and its entry.
    labels : the entry of labels in a batch.
    splits : split name -> its files.
    """

    meta: str
    names: str
    labels: str
    splits: dict[str, tuple[str, ...]]


_LAYOUT_10 = Layout(
    "batches.meta",
    "label_names",
    "labels",
    {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
)
_LAYOUT_100 = Layout("meta", "fine_label_names", "fine_labels", {"train": ("train",), "test": ("test",)})


def find_cifar(layout: Layout, folder: str, root: Path) -> Listing:
    """List CIFAR in its official layout.

    Parameters
    ----------
    layout : of CIFAR-10 or CIFAR-100; the latter by fine labels.
    folder : its official name.
    root : that folder, or one up to two levels above it.

    Returns
    -------
    Listing in the order of the files and of their rows; key = ``data_batch_1/00000-camion_s_000148.png``: file, row,
    official name of the image.

    Raises
    ------
    DatasetError : the layout is missing, or a file is not what was published.
    """
    home = locate(root, f"{folder}/{layout.meta}", layout.meta).parent
    meta = load_pickle(home / layout.meta)
    classes = tuple(map(_text, _entry(meta, layout.names, home / layout.meta)))
    splits = {}
    for split, names in layout.splits.items():
        splits[split] = tuple(sample for name in names for sample in _samples(home / name, layout, len(classes)))
    return Listing(classes, splits)


def _samples(path: Path, layout: Layout, classes: int) -> list[Row]:
    batch = load_pickle(path)
    count, labels, names = (
        len(_pixels(batch, path)),
        _entry(batch, layout.labels, path),
        _entry(batch, "filenames", path),
    )
    if not count == len(labels) == len(names):
        raise DatasetError(f"{path} has {count} images, {len(labels)} labels, {len(names)} file names; {REMEDY}")
    samples = []
    for row, (label, name) in enumerate(zip(labels, names, strict=True)):
        if not isinstance(name, bytes | str):
            raise DatasetError(f"{path}: expected file names, got {name!r} at {row}; {REMEDY}")
        if not (isinstance(label, int | np.integer) and 0 <= label < classes):
            raise DatasetError(f"{path}: expected labels from 0 to {classes - 1}, got {label!r} at {row}; {REMEDY}")
        samples.append(Row(f"{path.name}/{row:05d}-{_text(name)}", int(label), path, row=row))
    return samples


def _rows_of(path: Path) -> np.ndarray:
    """Pixels of a batch file, (N, 3072) uint8. Each thread keeps the last one: a shard comes from one file."""
    status = path.stat()
    stamp = (path, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    if getattr(_opened, "stamp", None) != stamp:
        _opened.rows = _pixels(load_pickle(path), path)
        _opened.stamp = stamp
    return _opened.rows


def _pixels(batch: dict[str, Any], path: Path) -> np.ndarray:
    rows = _entry(batch, "data", path)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3 * _SIDE * _SIDE,):
        raise DatasetError(f"{path}: expected (N, {3 * _SIDE * _SIDE}) uint8 data; {REMEDY}")
    return rows


def _entry(batch: dict[str, Any], name: str, path: Path) -> Any:
    if not hasattr(batch.get(name), "__len__"):
        raise DatasetError(f"{path} has no {name}: it is not a file of this set; {REMEDY}")
    return batch[name]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of plain data and arrays. Nothing that a pickle names is called but what makes arrays.

    Raises
    ------
    DatasetError : it cannot be read, is damaged, holds something else, or asks for any other function or class.
    """
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="bytes").load()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; {REMEDY}") from None
    except Exception as error:  # damage makes pickle raise anything
        raise DatasetError(f"{path} cannot be used: {error or type(error).__name__}; {REMEDY}") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds a {type(found).__name__}, expected a dictionary; {REMEDY}")
    return {_text(name): value for name, value in found.items()}


def _reconstruct(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    """What numpy calls to make an empty array, which its state then fills."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("it asks for an array of a foreign class")
    return np.ndarray.__new__(np.ndarray, (0,), "u1")


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """What numpy calls from protocol 5 on."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """What Python 3 calls to write bytes under protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


def _scalar(dtype: np.dtype, data: bytes) -> np.generic:
    """What numpy calls for a number of its own."""
    return np.frombuffer(data, dtype)[0]


def _dtype(code: str | bytes, align: bool, copy: bool) -> np.dtype:
    """A copy always: numpy's own dtypes must not be changed by the state that follows."""
    return np.dtype(_text(code), align=False, copy=True)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}


class _Plain(pickle.Unpickler):
    """An unpickler that knows numpy's arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Callable | type:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of this set needs")
        return _ALLOWED[module, name]


_HOME = "https://www.cs.toronto.edu/~kriz"
_LICENCE = "none stated; cite the technical report"

CIFAR10 = Adapter(
    summary="CIFAR-10 (Krizhevsky, 2009)",
    find=functools.partial(find_cifar, _LAYOUT_10, "cifar-10-batches-py"),
    layout="cifar-10-batches-py/{batches.meta, data_batch_1 to data_batch_5, test_batch}",
    source=f"{_HOME}/cifar.html",
    licence=_LICENCE,
    archives=(
        Archive("cifar-10-python.tar.gz", f"{_HOME}/cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
    ),
    counts={"train": 50_000, "test": 10_000},
    classes=10,
    size=_SIDE,
    codec="raw",
    # As published for CIFAR-100: inferred.
    segments="30:35",
    compactness=8.0,
)

CIFAR100 = Adapter(
    summary="CIFAR-100 (Krizhevsky, 2009), by fine label",
    find=functools.partial(find_cifar, _LAYOUT_100, "cifar-100-python"),
    layout="cifar-100-python/{meta, train, test}",
    source=f"{_HOME}/cifar.html",
    licence=_LICENCE,
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
