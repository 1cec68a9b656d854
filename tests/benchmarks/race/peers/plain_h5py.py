"""h5py alone: one file without chunks, read at low level into one buffer, in a third of the time of ``data[a:b]``."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from tests.benchmarks.race.samples import Samples, decode_ids, decode_image
from tests.benchmarks.race.work import Crops, Tensors, load


def write(folder: Path, samples: Samples) -> None:
    images, ids, labels = zip(*samples, strict=True)
    with h5py.File(folder / "all.h5", "w") as file:
        for name, codes in (("images", images), ("ids", ids)):
            file[name] = np.frombuffer(b"".join(codes), np.uint8)
            file[f"{name}-ends"] = np.cumsum([0, *map(len, codes)])
        file["labels"] = np.array(labels)


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    return load(_Batches(folder / "all.h5", form), workers)


class _Column:
    """Codes of all samples, in one data set."""

    def __init__(self, file: h5py.File, name: str) -> None:
        self.ends = file[f"{name}-ends"][:].tolist()
        self.data = file[name].id
        self.space, self.buffer = self.data.get_space(), np.empty(max(np.diff(self.ends)), np.uint8)

    def read(self, number: int) -> np.ndarray:
        """Read a code; the next one takes its place."""
        begin, end = self.ends[number : number + 2]
        self.space.select_hyperslab((begin,), (end - begin,))
        self.data.read(h5py.h5s.create_simple((end - begin,)), self.space, self.buffer)
        return self.buffer[: end - begin]


class _Batches:
    def __init__(self, path: Path, form: str) -> None:
        self.path, self.form = path, form
        self.columns: tuple[_Column, ...] = ()
        with h5py.File(path) as file:
            self.labels = file["labels"][:]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: list[int]) -> Tensors:
        if not self.columns:  # first in the worker
            file = h5py.File(self.path)
            self.columns = _Column(file, "images"), _Column(file, "ids")
        images, ids = self.columns
        crops = Crops(len(positions))
        for row, number in enumerate(positions):
            crops.put(row, decode_image(self.form, images.read(number)), decode_ids(self.form, ids.read(number)))
        return crops.tensors(self.labels[positions])
