"""The document of an index: text that is no JSON, fields that lack, of other types, and out of range."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from preprocess.store.format import seal
from preprocess.store.writer import memory_file
from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.commands import IMAGES, INDEX
from tests.hostile.craft import document_of, put, seal_file, write_document, write_index
from tests.hostile.odd import MARK, VALUES, placed, without

_VERIFY = frozenset({"verify"})
_OPTIONAL = {"banner", "excluded", "limit_per_class", "quality"}
# Numbers, by path, that no writer writes.
_RANGES: dict[tuple, tuple[Any, ...]] = {
    ("superpixels", 0, "scales", 0, "weight"): (-0.5, 0, 2, 1e308, "NaN", "Infinity", "-Infinity", None),
    ("superpixels", 0, "scales", 0, "segments"): (0, -4, 4.5, 10**30, True),
    ("superpixels", 0, "compactness"): (-1, "NaN", "Infinity"),
    ("images", "size"): (0, -16, 17, 10**9, 16.0),
    ("images", "banner"): (-1, 10**9),
    ("images", "codec"): ("webp", "eps", "png"),
    ("images", "resize"): ("stretch", "none"),
    ("splits", "train", "rows", 0): (0, -4, 3, 5, 10**12, 4.0),
    ("splits", "train", "rows"): ([], [4], [4, 4, 0], [-4, 12], [2**63, 4]),
    ("splits", "train", "shard_size"): (0, -1, 10**12),
    ("splits", "train", "limit_per_class"): (0, -1),
    ("splits", "train", "columns", "images", "files"): ([],),
    ("splits", "train", "columns", "images", "files", 0, "bytes"): (0, -1, 10**15),
    ("splits", "train", "columns", "images", "files", 0, "sha256"): ("", "0" * 64, "z" * 64),
    ("splits", "train", "columns", "MAPS", "largest_id"): (-1, 0, 254, 255, 256, 2**31, 10**12),
    ("splits", "train", "columns", "MAPS", "least_regions"): (-1, 0, 10**6),
    ("splits", "train", "columns", "MAPS", "regions"): (-1, 10**15),
    ("splits", "train", "columns", "MAPS", "dtype"): (
        "float32",
        "int8",
        "object",
        "uint32",
        "U100000",
        ">u2",
        "uint16",
        "i4,i4",
    ),
    ("splits", "train", "columns", "MAPS", "recipe", "segments"): (0, -1, 10**12),
    ("splits", "train", "columns", "MAPS", "recipe", "algorithm"): ("os.system", "../x", ""),
    ("splits", "train", "columns", "images", "content_key"): ("", "g" * 16, "0" * 10_000),
}
# Nobody can tell that these are wrong: another number would do as well, or the field says nothing about the content.
_PLAUSIBLE = {
    *("limit_per_class", "shard_size", "compactness", "least_regions", "regions", "recipe", "content_key"),
}
_SPELT = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@cache
def _paths() -> tuple[tuple, ...]:
    """Path of each field once: of the first split, first scale, first file."""
    scale = {"segments": 0, "weight": 0, "column": ""}
    file = {"path": "", "bytes": 0, "sha256": ""}
    column = {"content_key": "", "encoding_key": "", "files": [file]}
    maps = column | {"recipe": {}, "dtype": "", "largest_id": 0, "least_regions": 0, "regions": 0}
    names = {"samples": "", "sources": "", "shard_size": 0, "rows": [0], "failed": []}
    sets = {"name": "", "algorithm": "", "compactness": 0, "scales": [scale]}
    shape = {
        "name": "",
        "dataset": "",
        "classes": [""],
        "images": {"size": 0, "resize": "", "codec": "", "pillow": ""},
        "superpixels": [sets],
        "splits": {"train": names | {"columns": {"images": column, "MAPS": maps}}},
    }
    return tuple(_walk(shape, ()))


def _walk(node: Any, path: tuple) -> Iterator[tuple]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from _walk(child, (*path, name))


def _found(document: dict, path: tuple) -> tuple:
    """``MAPS`` stands for the first column of maps."""
    name = document["superpixels"][0]["scales"][0]["column"]
    return tuple(name if part == "MAPS" else part for part in path)


def documents() -> Iterator[Case]:
    """Texts, then each field of the document."""
    yield from _texts()
    for path in _paths():
        where = ".".join(map(str, path))
        if path[-1] not in _OPTIONAL and not isinstance(path[-1], int) and path[-1] != "MAPS":
            yield Case(f"no {where}", _remove(path), REFUSED if path[-1] != "train" else HARMLESS, INDEX)
        for name, value in VALUES.items():
            yield Case(f"{where}: {name}", _put(path, value), HARMLESS)
        yield Case(f"{where}: an object", _put(path, {MARK: {MARK: 1}}), _unless_optional(path), _VERIFY)
    for path, values in _RANGES.items():
        expect = HARMLESS if _PLAUSIBLE & set(path) else REFUSED
        for value in values:
            name = f"{'.'.join(map(str, path))} is {str(value)[:40]}"
            yield Case(name, _put(path, _SPELT.get(value, value) if isinstance(value, str) else value), expect, _VERIFY)
    yield Case("one more field", _put(("more",), {"a": 1}), HARMLESS)
    yield from _places()


def _unless_optional(path: tuple) -> str:
    return HARMLESS if path[-1] in {"recipe", "MAPS", "images", "train", "pillow"} else REFUSED


def _put(path: tuple, value: Any) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        document = document_of(place.given / "x.h5")
        write_document(place.given / "x.h5", placed(document, _found(document, path), value))

    return make


def _remove(path: tuple) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        document = document_of(place.given / "x.h5")
        write_document(place.given / "x.h5", without(document, _found(document, path)))

    return make


def _texts() -> Iterator[Case]:
    def altered(change: Callable[[str], str | bytes]) -> Callable[[Place], None]:
        def make(place: Place) -> None:
            text = change(json.dumps(document_of(place.given / "x.h5")))
            write_index(place.given / "x.h5", text if isinstance(text, bytes) else text.encode())

        return make

    changes: dict[str, Callable[[str], str | bytes]] = {
        "empty": lambda text: "",
        "null": lambda text: "null",
        "a list": lambda text: "[]",
        "a number": lambda text: "1",
        "an empty object": lambda text: "{}",
        "cut": lambda text: text[: len(text) // 2],
        "more behind": lambda text: text + "x",
        "no UTF-8": lambda text: text.encode().replace(b"folder", b"f\xff\xfeder"),
        "UTF-16": lambda text: text.encode("utf-16"),
        "zeros behind": lambda text: text + "\0\0",
        "nested lists": lambda text: "[" * 200_000 + "]" * 200_000,
        "nested objects": lambda text: '{"a":' * 100_000 + "1" + "}" * 100_000,
        "nested field": lambda text: text[:-1] + ',"more":' + "[" * 100_000 + "]" * 100_000 + "}",
        "5,000 digits": lambda text: text.replace('"size": 16', f'"size": {"9" * 5_000}'),
        "10^6 digits": lambda text: text.replace('"rows": [4', f'"rows": [{"9" * 1_000_000}'),
        "huge exponent": lambda text: text.replace('"size": 16', '"size": 1e999999'),
        "NaN": lambda text: text.replace('"size": 16', '"size": NaN'),
        "comment": lambda text: text + "// comment",
        "single quotes": lambda text: text.replace('"', "'"),
    }
    for name, change in changes.items():
        yield Case(f"text: {name}", altered(change), REFUSED if name != "zeros behind" else HARMLESS, INDEX)
    yield Case("text: a field twice", altered(lambda text: text[:-1] + ',"classes": ["x"]}'), REFUSED, IMAGES)
    yield Case("text: with a mark of byte order", altered(lambda text: "\ufeff" + text), HARMLESS)
    for name, values in {
        "number": np.int64(7),
        "bytes": np.frombuffer(b"{}", np.uint8),
        "list of texts": np.asarray([b"{}", b"{}"]),
        "nothing": h5py.Empty("S1"),
    }.items():
        yield Case(f"document: {name}", _other_document(values), REFUSED, INDEX)


def _other_document(values: Any) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with h5py.File(place.given / "x.h5", "r+") as file:
            put(file, "document", values)
        seal_file(place.given / "x.h5", "index")

    return make


def _places() -> Iterator[Case]:
    order = np.asarray([(shard, row) for shard in range(2) for row in range(4)], np.int32)

    def changed(where: Any, value: int) -> np.ndarray:
        values = order.copy()
        values[where] = value
        return values

    for name, values, expect in (
        ("as they are", order, HARMLESS),
        ("int64", order.astype(np.int64), HARMLESS),
        ("reversed", order[::-1], HARMLESS),
        ("float", order.astype(np.float64), REFUSED),
        ("text", order.astype("S2"), REFUSED),
        ("flat", order.ravel(), REFUSED),
        ("three columns", np.pad(order, ((0, 0), (0, 1))), REFUSED),
        ("none", order[:0], HARMLESS),
        ("scalar", np.int32(0), REFUSED),
        ("negative row", changed((0, 1), -1), REFUSED),
        ("negative shard", changed((0, 0), -1), REFUSED),
        ("row beyond", changed((0, 1), 4), REFUSED),
        ("shard beyond", changed((0, 0), 2), REFUSED),
        ("huge shard", changed((0, 0), 2**31 - 1), REFUSED),
        ("twice the same", changed(1, 0), REFUSED),
        ("a million", np.tile(order, (125_000, 1)), REFUSED),
    ):
        yield Case(f"places: {name}", _with_places("train", values), expect, _VERIFY)
    yield Case("places: of no split", _with_places("none", order), HARMLESS)
    yield Case("places: below a folder", _with_places("train/more", order), REFUSED, _VERIFY)
    yield Case("places: a dataset", _places_are_data, REFUSED, _VERIFY)


def _with_places(split: str, values: np.ndarray) -> Callable[[Place], None]:
    return lambda place: _index(place.given / "x.h5", {split: values})


def _index(store: Path, places: dict[str, Any]) -> None:
    write_index(store, json.dumps(document_of(store)).encode(), places)


def _places_are_data(place: Place) -> None:
    text = json.dumps(document_of(place.given / "x.h5")).encode()
    with memory_file() as file:
        file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", len(text))))
        file["places"] = np.zeros((8, 2), np.int32)
        file.flush()
        payload = file.id.get_file_image()
    (place.given / "x.h5").write_bytes(seal(payload, "index")[0] + payload)
