"""From the store to batches: data sets, windows, sample order, DataLoaders.

Only this package reads ``preprocess.store`` for training and, for live maps, calls ``preprocess.superpixels``. The data
sets, which do, are imported when they are first used: a training step takes its order from here, and needs no store.
"""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
from lgcoamix.data.augment import Augment
from lgcoamix.data.epoch_batches import EpochBatches
from lgcoamix.data.loader import make_loader, on_device
from lgcoamix.data.order import RunBatches, hold_out
from lgcoamix.data.windows import View

__all__ = [
    "Augment",
    "EpochBatches",
    "LiveDataset",
    "ResidentDataset",
    "RunBatches",
    "SuperpixelDataset",
    "View",
    "hold_out",
    "make_loader",
    "on_device",
]


def __getattr__(name: str) -> object:
    match name:  # h5py comes with these
        case "LiveDataset":
            from lgcoamix.data import live as home
        case "ResidentDataset":
            from lgcoamix.data import resident as home
        case "SuperpixelDataset":
            from lgcoamix.data import dataset as home
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(home, name)
    return value
