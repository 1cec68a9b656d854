"""numpy.memmap: the bytes of all images in a file, those of all maps in another. A crop reads its pages alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.race.samples import Samples, decode_ids, decode_image
from tests.benchmarks.race.work import Crops, Tensors, load


def write(folder: Path, samples: Samples) -> None:
    images, ids, labels = zip(*samples, strict=True)
    for name, codes in (("images", images), ("ids", ids)):
        (folder / name).write_bytes(b"".join(codes))
        np.save(folder / f"{name}-ends.npy", np.cumsum([0, *map(len, codes)]))
    np.save(folder / "labels.npy", np.array(labels))


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    return load(Batches(folder, form), workers)


class Batches:
    """A batch of a list of positions."""

    def __init__(self, folder: Path, form: str) -> None:
        self.form, self.labels = form, np.load(folder / "labels.npy")
        names = ("images", "ids")
        self.codes = [memoryview(np.memmap(folder / name, np.uint8, "r")) for name in names]
        self.ends = [np.load(folder / f"{name}-ends.npy").tolist() for name in names]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: Sequence[int]) -> Tensors:
        crops = Crops(len(positions))
        for row, number in enumerate(positions):
            image, ids = (
                codes[ends[number] : ends[number + 1]] for codes, ends in zip(self.codes, self.ends, strict=True)
            )
            crops.put(row, decode_image(self.form, image), decode_ids(self.form, ids))
        return crops.tensors(self.labels[positions])
