"""From the store to batches: dataset, joint transforms, order, loader. The only bridge to ``preprocess.store``."""

from lgcoamix.data.dataset import SuperpixelDataset
from lgcoamix.data.loader import EpochBatches, hold_out, make_loader
from lgcoamix.data.transforms import JointTransform, make_transform

__all__ = ["EpochBatches", "JointTransform", "SuperpixelDataset", "hold_out", "make_loader", "make_transform"]
