"""Compare the content of two stores, independent of its encoding."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from preprocess.store import Store, SuperpixelSet
from preprocess.store.index import IMAGES
from preprocess.text import listed

_BATCH, _SHOWN = 64, 5


def differences(left: Path, right: Path) -> Iterator[str]:
    """Yield a line for each difference between the content of two stores.

    Columns with equal content keys are equal and not read. Codec, shard size and format version are ignored.
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
    return ", ".join(value) if isinstance(value, dict | tuple) else str(value)


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
    yield from _column_differences(left, right, split, IMAGES, keys, lambda store, rows: store.images(split, rows))
    mine, theirs = (store.splits[split].paths.keys() - {IMAGES} for store in (left, right))
    if mine != theirs:
        yield f"{split}: maps {', '.join(sorted(mine)) or 'none'} vs. {', '.join(sorted(theirs)) or 'none'}"
    for column in sorted(mine & theirs):
        yield from _column_differences(
            left, right, split, column, keys, lambda store, rows, name=column: store.column_maps(split, name, rows)
        )


def _boxes(store: Store, split: str) -> list[np.ndarray]:
    """The (m, 4) boxes of each image, without padding."""
    return [boxes[~np.isnan(boxes[:, 0])] for boxes in store.boxes(split)]


def _column_differences(
    left: Store,
    right: Store,
    split: str,
    column: str,
    keys: list[str],
    read: Callable[[Store, range], Sequence[np.ndarray]],
) -> Iterator[str]:
    name = f"{split}/{column}"
    keys_of = [store.document["splits"][split]["columns"][column]["content_key"] for store in (left, right)]
    if keys_of[0] == keys_of[1]:
        return
    unlike = []
    for start in range(0, len(keys), _BATCH):
        rows = range(start, min(start + _BATCH, len(keys)))
        same = [np.array_equal(*pair) for pair in zip(read(left, rows), read(right, rows), strict=True)]
        unlike += [keys[row] for row, equal in zip(rows, same, strict=True) if not equal]
    if unlike:
        yield f"{name}: {len(unlike)} of {len(keys)} differ: {listed(unlike, _SHOWN)}"
