"""Bounding boxes of masks: the store has no place for the masks themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from preprocess.datasets.base import Box, Listing, Sample
from preprocess.errors import DatasetError, ImageError
from preprocess.images import LARGEST_FILE, decode
from preprocess.inputs import check_relative, read_regular


def keep_masks(listing: Listing, folder: Path) -> Listing:
    """Give every image without boxes the one around its mask, and say what became of the masks.

    Parameters
    ----------
    listing : any.
    folder : of masks, as PNG under the keys of their images, of the same size.

    Raises
    ------
    DatasetError : a mask cannot be read.
    """
    if not folder.is_dir():
        return listing
    if any(sample.boxes for samples in listing.splits.values() for sample in samples):
        note = f"not stored: the masks in {folder}, for which the store has no place; the boxes are kept"
        return replace(listing, notes=(*listing.notes, note))
    splits, used = {}, []
    for split, samples in listing.splits.items():
        masks = [_mask(folder, sample) for sample in samples]
        used += [mask for mask in masks if mask is not None]
        pairs = zip(samples, masks, strict=True)
        splits[split] = tuple(replace(sample, boxes=box_of(mask)) if mask else sample for sample, mask in pairs)
    total = sum(map(len, splits.values()))
    note = f"boxes: around the masks in {folder}, of {len(used):,} of {total:,} images; the masks are not stored"
    return replace(listing, splits=splits, notes=(*listing.notes, note), tables=(*listing.tables, *used))


def box_of(mask: Path) -> tuple[Box, ...]:
    """Return the box around the pixels of at least half the largest value; none if all are 0.

    The masks of CUB are grey: they say how many people marked a pixel.

    Raises
    ------
    DatasetError : the file cannot be read.
    """
    try:
        grey = np.asarray(decode(read_regular(mask, LARGEST_FILE))).max(axis=2)
    except (ImageError, OSError) as error:
        raise DatasetError(f"the mask {mask} cannot be read: {error}; replace or remove it") from None
    bright = (2 * grey.astype(int) >= grey.max()) & (grey > 0)
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return ()
    return ((float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),)


def _mask(folder: Path, sample: Sample) -> Path | None:
    try:
        check_relative(sample.key)
    except ValueError:  # refused later, with its reason
        return None
    path = (folder / sample.key).with_suffix(".png")
    return path if path.exists() else None
