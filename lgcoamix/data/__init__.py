"""From the store to batches: data sets, windows, sample order, DataLoaders.

Only this package reads ``preprocess.store`` for training and, for live maps, calls ``preprocess.superpixels``.
"""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
from lgcoamix.data.augment import Augment
from lgcoamix.data.dataset import SuperpixelDataset
from lgcoamix.data.epoch_batches import EpochBatches
from lgcoamix.data.live import LiveDataset
from lgcoamix.data.loader import make_loader, on_device
from lgcoamix.data.order import RunBatches, hold_out
from lgcoamix.data.resident import ResidentDataset
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
