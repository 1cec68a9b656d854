"""Stores from somebody else: edited with h5py alone, and sealed again, so that every digest is right."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from preprocess.store import Store
from preprocess.store.format import HEADER_BYTES, seal
from preprocess.store.shard import Form, Shard, form_of
from preprocess.store.writer import ImageShard, MapShard

Change = Callable[[h5py.File], object]


def rewrite(path: Path, kind: str, change: Change) -> dict:
    """Edit a file of a store with h5py, and seal it; return its new bytes and sha256."""
    payload = io.BytesIO(path.read_bytes()[HEADER_BYTES:])
    with h5py.File(payload, "r+") as file:
        change(file)
    return _write(path, kind, payload.getvalue())


def edit_index(path: Path, change: Callable[[dict], object]) -> None:
    """Edit the document of an index."""

    def edit(file: h5py.File) -> None:
        document = json.loads(file["document"][()])
        change(document)
        put_document(file, json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    rewrite(path, "index", edit)


def put_document(file: h5py.File, text: bytes) -> None:
    del file["document"]
    file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", len(text))))


def edit_shard(store: Store, column: str, change: Change) -> Path:
    """Edit the first training shard of a column, and list it in the index."""
    path, _ = _first(store, column)
    _relist(store, column, rewrite(path, "shard", change))
    return path


def write_images(store: Store, change: Callable[[dict[str, list]], object]) -> Path:
    """Write the first training shard of images again, with other labels, keys, boxes, ..."""
    path, form = _first(store, "images")
    shard = Shard.open(path, form)
    rows = range(len(shard))
    stored = [shard.read_image(row) if form.codec == "raw" else shard.read_code(row) for row in rows]
    sizes = [(16, 16)] * len(rows) if shard.sizes is None else shard.sizes.tolist()
    boxes = [np.empty((0, 4), np.float32)] * len(rows)
    parts = {"stored": stored, "sizes": sizes, "labels": shard.labels.tolist(), "keys": shard.keys}
    parts |= {"sources": shard.sources, "boxes": boxes}
    shard.close()
    change(parts)
    again = ImageShard(len(rows), (16, 16) if form.codec == "raw" else None, varied=form.size is None)
    for row in zip(*parts.values(), strict=True):
        again.add(*row)
    _relist(store, "images", _write(path, "shard", again.finish([]).payload))
    return path


def write_maps(store: Store, column: str, change: Callable[[np.ndarray], object]) -> Path:
    """Write the first training shard of a column of maps again, with other ids: an (n, H, W) array."""
    path, form = _first(store, column)
    shard = Shard.open(path, form)
    maps = np.stack([shard.read_map(row) for row in range(len(shard))])
    shard.close()
    change(maps)
    again = MapShard(len(maps), maps.shape[1:], form.dtype, varied=False)
    for ids in maps:
        again.add(ids)
    _relist(store, column, _write(path, "shard", again.finish().payload))
    return path


def _first(store: Store, column: str) -> tuple[Path, Form]:
    store.close()
    return store.home / store.record("train", column, 0)["path"], form_of(store.document, "train", column, 0)


def _relist(store: Store, column: str, record: dict) -> None:
    edit_index(store.path, lambda document: document["splits"]["train"]["columns"][column]["files"][0].update(record))


def _write(path: Path, kind: str, payload: bytes) -> dict:
    header, digest = seal(payload, kind)
    path.write_bytes(header + payload)
    return {"bytes": len(header) + len(payload), "sha256": digest}
