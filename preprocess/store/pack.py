"""Pack a store into one file."""

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from preprocess.errors import StoreError
from preprocess.outputs import writing
from preprocess.store import Store
from preprocess.store.format import FORMAT_VERSION, HEADER_BYTES, check_file, header_of
from preprocess.store.index import index_bytes
from preprocess.store.place import shard_path
from preprocess.store.shard import VERIFY, Form, Shard, form_of

_BLOCK = 1 << 22


def pack(store: Store, out: Path, advance: Callable[[int], None]) -> None:
    """Copy the index and all shards of a store into one HDF5 file, without recompressing the chunks.

    Calls ``advance(1)`` after each shard.

    Raises
    ------
    StoreError : the store is already packed, misses shards or is damaged.
    """
    if store.packed:
        raise StoreError(f"{store.path} is already packed")
    if lost := store.missing():
        raise StoreError(f"{store.path} is missing {len(lost)} shards, first {lost[0]}; rebuild it")
    with writing(out) as file:
        file.write(bytes(HEADER_BYTES))
        view = _Behind(file)
        with h5py.File(view, "w") as packed:
            packed.attrs["format"] = np.bytes_("lgcoamix-pack")
            packed.attrs["version"] = FORMAT_VERSION
            packed.create_dataset("index", data=np.frombuffer(index_bytes(store.index), np.uint8))
            for place in store.shards():
                if view.failure is not None:
                    break
                record = store.record(*place)
                _copy(shard_path(store.home, record["path"]), record, form_of(store.document, *place), packed)
                advance(1)
        if view.failure is not None:
            raise view.failure
        file.seek(HEADER_BYTES)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        file.write(header_of("pack", digest))


def _copy(path: Path, record: dict, form: Form, packed: h5py.File) -> None:
    if check_file(path, "shard") != (record["bytes"], record["sha256"]):
        raise StoreError(f"{path} is not the shard that the index lists")
    with contextlib.closing(Shard.open(path, form)) as shard:
        shard.check_listing()
        group = packed.create_group(record["path"])
        group.attrs.update({"format": np.bytes_("lgcoamix-shard"), "version": FORMAT_VERSION})
        try:
            for name in sorted(shard.names):
                shard.group.copy(name, group, without_attrs=True)
        except Exception as error:  # a full disk is never reported here, so it is the shard
            raise StoreError(f"{shard.where} cannot be read ({error}); {VERIFY}") from None


class _Behind(io.RawIOBase):
    """The file behind the user block, which never reports a full disk to HDF5.

    A failed write inside HDF5 can crash the process at exit. So we keep the first failure and discard later writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset + HEADER_BYTES if whence == io.SEEK_SET else offset, whence) - HEADER_BYTES

    def tell(self) -> int:
        return self.file.tell() - HEADER_BYTES

    def readinto(self, buffer: memoryview) -> int:
        return self.file.readinto(buffer)

    def write(self, data: memoryview) -> int:
        if self.failure is None:
            try:
                self.file.write(data)
                self.file.flush()
            except OSError as error:
                self.failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        if self.failure is None:
            self.file.truncate(size + HEADER_BYTES)
        return size
