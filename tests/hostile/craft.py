"""Change a store in any way, and seal it again: a digest proves only that a file is what its writer wrote."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from preprocess.store.format import HEADER_BYTES, header_of, image_checksum, listing_checksum, map_checksum
from preprocess.store.writer import memory_file

Edit = Callable[[h5py.File], None]


def seal_file(path: Path, kind: str) -> None:
    """Give a file the digest of what it holds."""
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        file.write(header_of(kind, digest))


def document_of(store: Path) -> dict[str, Any]:
    """The index of a sound store as plain data."""
    with h5py.File(store, "r", locking=False) as file:
        if "index" not in file:
            return json.loads(file["document"][()])
        data = file["index"][()].tobytes()
    with h5py.File.in_memory(data[HEADER_BYTES:]) as inner:
        return json.loads(inner["document"][()])


def places_of(store: Path) -> dict[str, np.ndarray]:
    """The places of an index."""
    with h5py.File(store, "r", locking=False) as file:
        return {name: file["places"][name][()] for name in file.get("places", ())}


def write_index(store: Path, text: bytes, places: dict[str, Any] | None = None) -> None:
    """Write an index with any document."""
    with memory_file() as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("lgcoamix-index"), 2
        file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", max(1, len(text)))))
        for name, values in (places or {}).items():
            file.create_dataset(f"places/{name}", data=values)
        file.flush()
        payload = file.id.get_file_image()
    store.write_bytes(header_of("index", hashlib.sha256(payload).hexdigest()) + payload)


def write_document(store: Path, document: Any) -> None:
    """Write an index with a document; what is no JSON (NaN) is written as Python does."""
    write_index(store, json.dumps(document, separators=(",", ":")).encode(), places_of(store))


def edit_document(store: Path, edit: Callable[[dict], None]) -> None:
    """Change the document of an index in place."""
    document = document_of(store)
    edit(document)
    write_document(store, document)


def shard_of(store: Path, column: str = "images", split: str = "train", number: int = 0) -> Path:
    """The file of a shard; ``maps`` stands for the first column of maps."""
    columns = document_of(store)["splits"][split]["columns"]
    column = next(name for name in columns if name != "images") if column == "maps" else column
    return store.parent / columns[column]["files"][number]["path"]


def edit_shard(store: Path, edit: Edit, column: str = "images", split: str = "train", mend: bool = True) -> None:
    """Change a shard, with all checksums and digests right again afterwards."""
    path = shard_of(store, column, split)
    with h5py.File(path, "r+", locking=False) as file:
        edit(file)
        if mend:
            mend_checksums(file)
    seal_file(path, "shard")
    relist(store)


def relist(store: Path) -> None:
    """Let the index list the shards as they are now."""

    def update(document: dict) -> None:
        for split in document["splits"].values():
            for column in split["columns"].values():
                for record in column["files"]:
                    path = store.parent / record["path"]
                    record["bytes"] = path.stat().st_size
                    with path.open("rb") as file:
                        file.seek(HEADER_BYTES)
                        record["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()

    edit_document(store, update)


def put(file: h5py.Group, name: str, data: Any = None, **options: Any) -> None:
    """Replace a dataset."""
    if name in file:
        del file[name]
    file.create_dataset(name, data=data, **options)


def mend_checksums(file: h5py.Group) -> None:
    """Compute the checksums of a shard again, as far as its arrays allow."""
    with contextlib.suppress(Exception):
        _mend_listing(file)
    with contextlib.suppress(Exception):
        sums = list(_sums(file))
        if len(sums) == len(file["checksums"]):
            file["checksums"][()] = np.asarray(sums, np.uint32)


def _mend_listing(file: h5py.Group) -> None:
    boxes = [file["boxes"][()]] if "boxes" in file else []
    listed = listing_checksum(file["labels"][()], file["keys"][()], file["sources"][()], *boxes)
    put(file, "listing_checksum", listed)


def _sums(file: h5py.Group) -> list[int]:
    if "maps" in file:
        return [map_checksum(np.ascontiguousarray(ids).tobytes()) for ids in _maps(file)]
    if "codes" in file:
        offsets, codes = file["offsets"][()].tolist(), file["codes"][()]
        stored = [codes[begin:end].tobytes() for begin, end in pairwise(offsets)]
    else:
        stored = [pixels.tobytes() for pixels in file["images"][()]]
    keys, labels = file["keys"][()].tolist(), file["labels"][()].tolist()
    return [image_checksum(*given) for given in zip(stored, labels, keys, strict=True)]


def _maps(file: h5py.Group) -> list[np.ndarray]:
    maps = file["maps"][()]
    if "sizes" not in file:
        return list(maps)
    return [ids[:height, :width] for ids, (height, width) in zip(maps, file["sizes"][()].tolist(), strict=True)]
