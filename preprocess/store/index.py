"""The index of a store: one small file that is always replaced atomically."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from preprocess.errors import StoreError
from preprocess.files import lock, publish
from preprocess.inputs import open_regular
from preprocess.schema import SchemaError, parse_json
from preprocess.store.format import FORMAT_VERSION, HEADER_BYTES, check_header, seal
from preprocess.store.links import group_at, group_in, names_in, open_hdf5, read_in
from preprocess.store.schema import check_document, check_labels, check_places
from preprocess.store.writer import memory_file
from preprocess.text import listed

_LABELS, _PLACES = "labels", "places"
_MOST_NAMES = 3
_MOST_STEMS = 1000  # names that a store has had, in a pack
_MOST_BYTES = 1 << 30  # of an index; a million samples take 6 MB


@dataclass(frozen=True)
class Index:
    """The contents of a store."""

    document: dict  # plain data; preprocess/README.md lists its fields
    # Split -> (n, 2) int32 array: shard and row of every sample. Only for updated splits; the others are in order.
    places: dict[str, np.ndarray] = field(default_factory=dict)
    # Split -> (n,) int32 array: label of every sample, in order, so that training opens no shard for them. Stores of
    # earlier versions have none.
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""  # SHA-256 of the index file after its user block; empty before the index is written


def read_index(path: Path) -> Index:
    """Read and check an index.

    Raises
    ------
    StoreError : missing, not an index, damaged, of another format version, or with odd contents.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise StoreError(f"{path} is larger than any index: more than {_MOST_BYTES:,} bytes")
            data = file.read()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened: {error.strerror}; build a store with: "
            "python -m lgcoamix preprocess build DATASET"
        ) from None
    return parse_index(data, path)


def parse_index(data: bytes, path: Path) -> Index:
    """Parse and check the bytes of an index file; error messages name ``path``."""
    digest = check_header(data[:HEADER_BYTES], "index", path)
    if hashlib.sha256(memoryview(data)[HEADER_BYTES:]).hexdigest() != digest:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest; rebuild the store")
    try:
        with h5py.File(io.BytesIO(data[HEADER_BYTES:]), "r") as file:
            return _read(file, digest)
    except Exception as error:  # h5py raises many types; the digest is right, so it was written so
        raise StoreError(
            f"{path} is not an index that this program writes: {error}; do not use this store, get another copy or "
            "build it again"
        ) from None


def _read(file: h5py.File, digest: str) -> Index:
    """Check and read the contents of an index."""
    names = names_in(file, _MOST_NAMES)
    if names - {_PLACES, _LABELS} != {"document"}:
        raise ValueError(f"expected a document, got {', '.join(sorted(names))}")
    document = check_document(parse_json(read_in(file, "document", "S", ()).item()))
    splits, places, labels = document["splits"], {}, {}
    for name, group in _by_split(file, names, _PLACES, splits):
        places[name] = read_in(group, name, "int32", (None, 2))
        check_places(name, places[name], splits[name]["rows"])
    for name, group in _by_split(file, names, _LABELS, splits):
        number = len(places[name]) if name in places else sum(splits[name]["rows"])
        labels[name] = read_in(group, name, "int32", (number,))
        check_labels(f"labels.{name}", labels[name], len(document["classes"]))
    return Index(document, places, labels, digest)


def _by_split(file: h5py.File, names: set[str], which: str, splits: dict) -> Iterator[tuple[str, h5py.Group]]:
    """Splits that have an array in the group of this name, if there is one; and the group."""
    if which in names:
        group = group_in(file, which)
        found = names_in(group, len(splits))
        if odd := found - splits.keys():
            raise ValueError(f"{which}: expected splits, got {', '.join(sorted(odd))}")
        yield from ((name, group) for name in splits if name in found)


def packed_index(path: Path) -> Index:
    """Read the index of a packed store, and check that the pack holds its shards and nothing else.

    Raises
    ------
    StoreError : damaged, of another format version, or with odd contents.
    """
    try:
        with open_regular(path) as file:
            check_header(file.read(HEADER_BYTES), "pack", path)
        with open_hdf5(path) as file:
            names_in(file, _MOST_STEMS)
            data = read_in(file, "index", "uint8", (None,)).tobytes()
            index = parse_index(data, path)
            _check_tree(file, [record["path"] for record in records_of(index.document)])
            return index
    except Exception as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} cannot be read ({error}); do not use it, get another copy") from None


def records_of(document: dict) -> Iterator[dict]:
    """Index record (path, bytes, sha256) of every shard."""
    for entry in document["splits"].values():
        for column in entry["columns"].values():
            yield from column["files"]


def _check_tree(pack: h5py.File, paths: list[str]) -> None:
    """Compare the groups of a pack, down to its shards, with their paths; a shard is checked when it is opened."""
    entries: dict[str, set[str]] = {"": {"index"}}
    for path in paths:
        parts = path.split("/")
        for depth, name in enumerate(parts):
            entries.setdefault("/".join(parts[:depth]), set()).add(name)
    for path, expected in entries.items():  # a folder comes before what it holds
        if names_in(group_at(pack, path), len(expected)) != expected:
            raise ValueError(f"{path or 'the pack'}: expected {listed(sorted(expected))}")


def index_bytes(index: Index) -> bytes:
    """The bytes of an index file: user block and HDF5.

    Raises
    ------
    StoreError : it could not be read again.
    """
    try:
        check_document(index.document)
    except SchemaError as error:
        raise StoreError(f"this store cannot have an index: {error}") from None
    with memory_file() as file:
        file.attrs["format"] = np.bytes_("lgcoamix-index")
        file.attrs["version"] = FORMAT_VERSION
        # Not sorted: the order of the splits has a meaning.
        text = json.dumps(index.document, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
        file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", len(text))))
        for group, arrays in ((_PLACES, index.places), (_LABELS, index.labels)):
            for name in index.document["splits"]:  # one order, so that equal contents are equal bytes
                if name in arrays:
                    file.create_dataset(f"{group}/{name}", data=arrays[name])
        file.flush()
        payload = file.id.get_file_image()
    return seal(payload, "index")[0] + payload


def replace_index(path: Path, index: Index, base: Index | None) -> bool:
    """Publish an index if the current one is still ``base``.

    Returns
    -------
    False if another process has published an index since. Then read that index and plan again.

    Notes
    -----
    A lock on the current file separates two writers. On a file system without locks, one of two indexes published at
    the same instant can be lost. Its shards are kept, and rerunning the command lists them again.
    """
    data = index_bytes(index)
    header, payload = data[:HEADER_BYTES], data[HEADER_BYTES:]
    if base is None:
        return publish(path, header, payload, new=True)
    with _locked(path) as current:
        if check_header(current.read(HEADER_BYTES), "index", path) != base.digest:
            return False
        return publish(path, header, payload)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Lock the file that has this name now, not one that was replaced while we waited."""
    while True:
        with path.open("r+b") as file:
            lock(file)
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return
