"""torchvision's folder of classes: a file for each image, another for its map."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torchvision.datasets import DatasetFolder

from tests.benchmarks.race.samples import Samples
from tests.benchmarks.race.work import Collate, Tensors, load


def write(folder: Path, samples: Samples) -> None:
    for number, (image, ids, label) in enumerate(samples):
        path = folder / f"{label:02d}" / f"{number:04d}.img"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image)
        path.with_suffix(".map").write_bytes(ids)


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    collate = Collate(form)

    def flat(samples: Sequence[tuple[tuple[bytes, bytes], int]]) -> Tensors:
        return collate([(*codes, label) for codes, label in samples])

    return load(DatasetFolder(folder, _read, extensions=(".img",)), workers, flat)


def _read(path: str) -> tuple[bytes, bytes]:
    # open(), not pathlib, and without a buffer: half of the time.
    with open(path, "rb", 0) as image, open(path.removesuffix("img") + "map", "rb", 0) as ids:  # noqa: PTH123
        return image.read(), ids.read()
