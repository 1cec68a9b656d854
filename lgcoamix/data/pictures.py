"""Images for people: the windows of a data set, from the stored pixels and not from those of a small input."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lgcoamix.data.dataset import Index, SuperpixelDataset
from lgcoamix.data.resident import ResidentDataset

SIDE = 256  # pixels of a picture whose window is resized for the network


def source_of(dataset: SuperpixelDataset | ResidentDataset) -> SuperpixelDataset:
    """Return the data set that reads the samples of either kind."""
    return dataset.source if isinstance(dataset, ResidentDataset) else dataset


def pictures(dataset: SuperpixelDataset | ResidentDataset, indices: Sequence[Index], side: int = SIDE) -> np.ndarray:
    """Show samples to people.

    Parameters
    ----------
    indices : as for :meth:`SuperpixelDataset.__getitems__`.
    side : of the pictures, in pixels, where the network sees resized windows; others keep their pixels.

    Returns
    -------
    (B, H, W, 3) uint8 array: the windows that the network sees. Where they are augmented, its input itself.
    """
    source = source_of(dataset)
    if source.augment is not None:
        return source.shown(source.draw(indices))[0]
    view = source.view
    if view is not None and view.resizes and view.size < side:
        view = replace(view, settings=replace(view.settings, image_size=side))
    shown = SuperpixelDataset(source.store, source.split, view, source.seed, maps=False, subset=source.samples)
    return shown.shown(shown.draw(indices))[0]
