"""Compare the content of two stores, independent of its encoding."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from preprocess.store import Store, SuperpixelSet
from preprocess.store.format import IMAGES
from preprocess.text import listed

_BATCH, _SHOWN = 64, 5


def differences(left: Path, right: Path) -> Iterator[str]:
    """Yield a line for each difference between the content of two stores.

    All images and maps are read: the content keys of an index are what its writer says. Codec, shard size and format
    version are ignored.
    """
    stores = Store(left), Store(right)
    for what in ("classes", "splits", "size", "resize", "superpixel_sets"):
        mine, theirs = (_short(getattr(store, what)) for store in stores)
        if mine != theirs:
            yield f"{what.replace('_', ' ')}: {mine} vs. {theirs}"
    for split in stores[0].splits:
        if split in stores[1].splits:
            yield from _split_differences(*stores, split)


def _short(value: object) -> str:
    if isinstance(value, dict) and all(isinstance(each, SuperpixelSet) for each in value.values()):
        return "; ".join(
            f"{name} " + ", ".join(f"{scale.segments} ({scale.weight:.3f})" for scale in each.scales)
            for name, each in sorted(value.items())
        )
    if isinstance(value, dict):  # of splits: a store that grew has them in another order
        return ", ".join(sorted(value))
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _split_differences(left: Store, right: Store, split: str) -> Iterator[str]:
    keys, theirs = left.keys(split), right.keys(split)
    if keys != theirs:
        only = [sorted(set(keys) - set(theirs)), sorted(set(theirs) - set(keys))]
        if not any(only):
            yield f"{split}: the same images in another order"
        for side, names in zip(("left", "right"), only, strict=True):
            if names:
                yield f"{split}: only in the {side} store: {listed(names, _SHOWN)}"
        return
    labels = left.labels(split) != right.labels(split)
    if labels.any():
        yield f"{split}: labels differ: {listed([keys[row] for row in np.flatnonzero(labels)], _SHOWN)}"
    boxes = _boxes(left, split), _boxes(right, split)
    unlike = [key for key, *pair in zip(keys, *boxes, strict=True) if not np.array_equal(*pair)]
    if unlike:
        yield f"{split}: boxes differ: {listed(unlike, _SHOWN)}"
    if (left.size, left.resize) != (right.size, right.resize):
        return
    ranges = left.ranges(split, _BATCH)
    yield from _column_differences(split, IMAGES, keys, ranges, lambda rows: _equal_images(left, right, split, rows))
    mine, theirs = (store.splits[split].paths.keys() - {IMAGES} for store in (left, right))
    if mine != theirs:
        yield f"{split}: maps {', '.join(sorted(mine)) or 'none'} vs. {', '.join(sorted(theirs)) or 'none'}"
    for column in sorted(mine & theirs):
        ranges = left.ranges(split, _BATCH)
        yield from _column_differences(
            split, column, keys, ranges, lambda rows, name=column: _equal_maps(left, right, split, name, rows)
        )


def _boxes(store: Store, split: str) -> list[np.ndarray]:
    """The (m, 4) boxes of each image, without padding."""
    return [boxes[~np.isnan(boxes[:, 0])] for boxes in store.boxes(split)]


def _equal_images(left: Store, right: Store, split: str, rows: range) -> list[bool]:
    codecs = {store.document["images"]["codec"] for store in (left, right)}
    if "raw" in codecs or len(codecs) > 1:
        return _equal(left.images(split, rows), right.images(split, rows))
    files = zip(rows, left.codes(split, rows), right.codes(split, rows), strict=True)  # decoded only if they differ
    return [mine == theirs or _equal_images_at(left, right, split, row) for row, mine, theirs in files]


def _equal_images_at(left: Store, right: Store, split: str, row: int) -> bool:
    return _equal(left.images(split, [row]), right.images(split, [row]))[0]


def _equal_maps(left: Store, right: Store, split: str, column: str, rows: range) -> list[bool]:
    return _equal(left.column_maps(split, column, rows), right.column_maps(split, column, rows))


def _equal(mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> list[bool]:
    return [np.array_equal(*pair) for pair in zip(mine, theirs, strict=True)]


def _column_differences(
    split: str, column: str, keys: list[str], ranges: Iterator[range], equal: Callable[[range], list[bool]]
) -> Iterator[str]:
    unlike = []
    for rows in ranges:
        unlike += [keys[row] for row, same in zip(rows, equal(rows), strict=True) if not same]
    if unlike:
        yield f"{split}/{column}: {len(unlike)} of {len(keys)} differ: {listed(unlike, _SHOWN)}"
