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
from preprocess.store.format import FORMAT_VERSION, HEADER_BYTES, check_header, seal
from preprocess.store.writer import memory_file

IMAGES = "images"


@dataclass(frozen=True)
class Index:
    """The contents of a store."""

    document: dict  # plain data; preprocess/README.md lists its fields
    # Split -> (n, 2) int32 array: shard and row of every sample. Only for updated splits; the others are in order.
    places: dict[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""  # SHA-256 of the index file after its user block; empty before the index is written


def read_index(path: Path) -> Index:
    """Read and check an index.

    Raises
    ------
    StoreError : missing, not an index, damaged, or of another format version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened: {error.strerror}; build a store with: python -m preprocess build"
        ) from None
    return parse_index(data, path)


def parse_index(data: bytes, path: Path) -> Index:
    """Parse and check the bytes of an index file; error messages name ``path``."""
    digest = check_header(data[:HEADER_BYTES], "index", path)
    if hashlib.sha256(memoryview(data)[HEADER_BYTES:]).hexdigest() != digest:
        raise StoreError(f"{path} is damaged: its bytes do not match their digest; rebuild the store")
    with h5py.File(io.BytesIO(data[HEADER_BYTES:]), "r") as file:
        places = {name: file["places"][name][()] for name in file.get("places", ())}
        return Index(json.loads(file["document"][()]), places, digest)


def index_bytes(index: Index) -> bytes:
    """The bytes of an index file: user block and HDF5."""
    with memory_file() as file:
        file.attrs["format"] = np.bytes_("lgcoamix-index")
        file.attrs["version"] = FORMAT_VERSION
        # Not sorted: the order of the splits has a meaning.
        text = json.dumps(index.document, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
        file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", len(text))))
        for name, places in index.places.items():
            file.create_dataset(f"places/{name}", data=places)
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
