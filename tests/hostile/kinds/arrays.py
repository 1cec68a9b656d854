"""Arrays of shards: wrong shapes, types and ranges, with all checksums right."""

from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.commands import IMAGES, MAPS
from tests.hostile.craft import edit_shard, put

_NAMES = {
    ("raw", "images"): ("images", "labels", "keys", "sources", "checksums", "listing_checksum", "failed"),
    ("raw", "maps"): ("maps", "regions", "checksums"),
    ("coded", "images"): ("codes", "offsets", "sizes", "boxes", "labels", "keys"),
    ("coded", "maps"): ("maps", "sizes", "regions"),
}
_VERIFY = frozenset({"verify"})
_OTHERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda old: np.zeros(old.shape, np.float64),
    "NaN": lambda old: np.full(old.shape, np.nan, np.float32),
    "complex": lambda old: np.zeros(old.shape, np.complex64),
    "bool": lambda old: np.zeros(old.shape, bool),
    "int8": lambda old: np.full(old.shape, -1, np.int8),
    "uint64": lambda old: np.full(old.shape, 2**64 - 1, np.uint64),
    "big endian": lambda old: np.zeros(old.shape, ">i4"),
    "text": lambda old: np.full(old.shape, b"zebra", "S5"),
    "variable text": lambda old: np.full(old.shape, "zebra", object),
    "compound": lambda old: np.zeros(old.shape, [("a", "i4"), ("b", "f8")]),
    "scalar": lambda old: np.int32(0),
    "one more axis": lambda old: np.zeros((*old.shape, 1), old.dtype if old.dtype.kind in "iuf" else "S1"),
    "no rows": lambda old: np.zeros((0, *old.shape[1:]), old.dtype if old.dtype.kind in "iuf" else "S1"),
    "one row": lambda old: np.zeros((1, *old.shape[1:]), old.dtype if old.dtype.kind in "iuf" else "S1"),
    "more rows": lambda old: np.zeros((100, *old.shape[1:]), old.dtype if old.dtype.kind in "iuf" else "S1"),
    "no columns": lambda old: np.zeros((*old.shape[:1], 0), old.dtype if old.dtype.kind in "iuf" else "S1"),
    "32 axes": lambda old: np.zeros((1,) * 32, np.uint8),
    "nothing": lambda old: h5py.Empty("i4"),
}


def arrays() -> Iterator[Case]:
    """Every array with every other type and shape, without it, and with values that it may not hold."""
    for (base, column), names in _NAMES.items():
        for name in names:
            readers = _VERIFY if name in ("failed", "sources", "listing_checksum") else _VERIFY | {"train"}
            for what, other in _OTHERS.items():
                if name in ("failed", "listing_checksum") and what == "scalar":
                    continue
                yield Case(f"{base} {column} {name}: {what}", _other(column, name, other), HARMLESS, readers, base)
            expect = HARMLESS if name == "boxes" else REFUSED  # a set may have none
            without = _edit(column, lambda file, name=name: file.pop(name))
            yield Case(f"{base} {column} {name}: missing", without, expect, _VERIFY, base)
    yield from _values()


def _other(column: str, name: str, other: Callable) -> Callable[[Place], None]:
    def edit(file: h5py.File) -> None:
        values = other(np.asarray(file[name][()]))
        options = {"dtype": h5py.string_dtype()} if isinstance(values, np.ndarray) and values.dtype.kind == "O" else {}
        put(file, name, values, **options)

    return _edit(column, edit)


def _edit(column: str, edit: Callable[[h5py.File], Any]) -> Callable[[Place], None]:
    return lambda place: edit_shard(place.given / "x.h5", edit, column)


def _set(name: str, where: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        values = file[name][()]
        values[where] = value
        put(file, name, values)

    return edit


def _values() -> Iterator[Case]:
    both = IMAGES | MAPS
    for value in (-1, 2, 3, 2**31 - 1, -(2**31)):
        yield Case(f"label {value}", _edit("images", _set("labels", 0, value)), REFUSED, IMAGES - {"duplicates"})
    for value in (20, 100, 254, 255):
        yield Case(f"id {value} in a map", _edit("maps", _set("maps", (0, 3, 3), value)), REFUSED, _VERIFY)
    yield Case("all ids the sentinel", _edit("maps", _set("maps", 0, 255)), REFUSED, _VERIFY)
    yield Case("ids with a gap", _edit("maps", _set("maps", 0, 2)), HARMLESS, _VERIFY)
    for value in (0, 1, 255, 2**32 - 1):
        yield Case(f"{value} regions stated", _edit("maps", _set("regions", 0, value)), REFUSED, _VERIFY)
    for value in (np.inf, -np.inf, 1e30, -5.0):
        yield Case(f"box edge {value}", _edit("images", _set("boxes", (0, 0, 2), value)), REFUSED, _VERIFY, "coded")
    yield Case("box half NaN", _edit("images", _set("boxes", (0, 0, 2), np.nan)), REFUSED, _VERIFY, "coded")
    yield Case(
        "box without area", _edit("images", _set("boxes", (0, 0), [0.5, 0.5, 0.1, 0.1])), HARMLESS, _VERIFY, "coded"
    )
    for value in (0, -1, 1, 17, 10**6, 2**31 - 1):
        for column in ("images", "maps"):
            expect = REFUSED if column == "maps" or value < 1 else HARMLESS
            yield Case(
                f"{column} of height {value}", _edit(column, _set("sizes", (0, 0), value)), expect, _VERIFY, "coded"
            )
    for name, where, value in (
        *(("negative", 1, -1), ("beyond the end", 1, 2**40), ("huge", 1, 2**63 - 1), ("least", 0, -(2**63))),
        *(("falling", 2, 1), ("not from 0", 0, 5), ("last beyond", -1, 2**40), ("empty code", 1, 0)),
    ):
        yield Case(
            f"offset {name}", _edit("images", _set("offsets", where, value)), REFUSED, _VERIFY | {"export"}, "coded"
        )
    yield Case("sources all the same", _edit("images", _set("sources", slice(None), 7)), HARMLESS, both)
