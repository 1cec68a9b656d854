"""Whether two stores hold the same content, however it is encoded."""

from collections.abc import Callable, Iterator

import numpy as np

from preprocess.store import Store

_BATCH, _SHOWN = 64, 5


def differences(left: Store, right: Store) -> Iterator[str]:
    """Say in lines how the content of two stores differs: nothing if it is equal.

    Columns of equal content keys are equal and not read. Codec, shard size and version of the format do not count.
    """
    for what in ("classes", "splits", "size", "scales"):
        mine, theirs = _short(left, what), _short(right, what)
        if mine != theirs:
            yield f"{what}: {mine} against {theirs}"
    algorithms = [store.document["plan"]["maps"]["algorithm"] for store in (left, right)]
    if algorithms[0] != algorithms[1]:
        yield f"algorithm: {algorithms[0]} against {algorithms[1]}"
    for split in left.splits:
        if split in right.splits:
            yield from _split_differences(left, right, split)


def _short(store: Store, what: str) -> str:
    if what == "scales":
        return ", ".join(f"{scale.segments} ({scale.weight:.3f})" for scale in store.scales)
    value = getattr(store, what)
    return str(value) if isinstance(value, int) else ", ".join(value)


def _split_differences(left: Store, right: Store, split: str) -> Iterator[str]:
    keys, theirs = left.keys(split), right.keys(split)
    if keys != theirs:
        only = [sorted(set(keys) - set(theirs)), sorted(set(theirs) - set(keys))]
        if not any(only):
            yield f"{split}: the same images in another order"
        for side, names in zip(("left", "right"), only, strict=True):
            if names:
                yield f"{split}: only in the {side} one: {_list(names)}"
        return
    labels = left.labels(split) != right.labels(split)
    if labels.any():
        yield f"{split}: labels differ: {_list([keys[row] for row in np.flatnonzero(labels)])}"
    if left.size != right.size:
        return
    yield from _column_differences(left, right, split, "images", keys, lambda store, rows: store.images(split, rows))
    names = [store.document["plan"]["maps"]["algorithm"] for store in (left, right)]
    counts = [{scale.segments for scale in store.scales} for store in (left, right)]
    for count in sorted(counts[0] & counts[1]) if names[0] == names[1] else ():
        column = f"{names[0]}-{count}"
        yield from _column_differences(
            left, right, split, column, keys, lambda store, rows, count=count: store.maps(split, count, rows)
        )


def _column_differences(
    left: Store, right: Store, split: str, column: str, keys: list[str], read: Callable[[Store, range], np.ndarray]
) -> Iterator[str]:
    name = f"{split}/{column}"
    if left.content_keys[name] == right.content_keys[name]:
        return
    unlike = []
    for start in range(0, len(keys), _BATCH):
        rows = range(start, min(start + _BATCH, len(keys)))
        same = (read(left, rows) == read(right, rows)).reshape(len(rows), -1).all(axis=1)
        unlike += [keys[row] for row, equal in zip(rows, same, strict=True) if not equal]
    if unlike:
        yield f"{name}: {len(unlike)} of {len(keys)} differ: {_list(unlike)}"


def _list(names: list[str]) -> str:
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
