"""The data set of this project, whose batches its own loader leaves whole."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lgcoamix import DataSettings, EpochBatches, SuperpixelDataset, View, make_loader
from tests.benchmarks.race.samples import BATCH, SHOWN
from tests.benchmarks.race.work import Epochs, Tensors


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    dataset = SuperpixelDataset(folder / "store.h5", "train", View(DataSettings(SHOWN, crop="random"), train=True))
    loader = make_loader(dataset, EpochBatches(len(dataset), BATCH, seed=0), workers)

    def epoch() -> Iterator[Tensors]:
        return ((batch.images, batch.maps, batch.labels) for batch in loader)

    return Epochs(epoch)
