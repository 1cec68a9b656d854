"""Random changes of sound things, each told by its seed."""

import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from preprocess.store.format import HEADER_BYTES
from tests.hostile.case import Case, Place
from tests.hostile.craft import document_of, edit_shard, put, relist, seal_file, shard_of, write_document
from tests.hostile.odd import mutated

_TYPES = ("u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8", "S3", "?")


def mutants(family: str, seed: int, count: int) -> Iterator[Case]:
    """Mutants of a family, from a seed on; there are none of archives and servers."""
    makers = _MAKERS.get(family, ())
    for number in range(seed, seed + count if makers else seed):
        name, base, make = makers[number % len(makers)]
        yield Case(f"{name} {number}", partial(make, number), base=base)


def _of_document(seed: int, place: Place) -> None:
    document = mutated(document_of(place.given / "x.h5"), seed)[1]
    write_document(place.given / "x.h5", document)


def _of_array(seed: int, place: Place) -> None:
    pick = random.Random(seed)

    def edit(file: h5py.File) -> None:
        name = pick.choice(sorted(file))
        put(file, name, _other(np.asarray(file[name][()]), pick))

    column, split = pick.choice(("images", "maps")), pick.choice(("train", "test"))
    edit_shard(place.given / "x.h5", edit, column, split, mend=pick.random() < 0.8)


def _other(old: np.ndarray, pick: random.Random) -> np.ndarray:
    """Another type, another shape, or a few other values."""
    how = pick.choice(("type", "shape", "values", "values", "values"))
    if how == "type":
        return np.zeros(old.shape, pick.choice(_TYPES))
    if how == "shape":
        shape = [max(0, side + pick.choice((-1, 0, 0, 1, 7))) for side in old.shape]
        return np.zeros(pick.choice((shape, [*shape, 2], shape[:1], [1])), old.dtype)
    data = bytearray(old.tobytes())
    for _ in range(pick.choice((1, 3, 20)) if data else 0):
        data[pick.randrange(len(data))] = pick.choice((0, 1, 2, 127, 128, 254, 255, pick.randrange(256)))
    return np.frombuffer(bytes(data), old.dtype).reshape(old.shape)


def _of_bytes(seed: int, place: Place, kind: str) -> None:
    pick, store = random.Random(seed), place.given / "x.h5"
    path = shard_of(store, pick.choice(("images", "maps"))) if kind == "shard" else store
    _spoil(path, pick, HEADER_BYTES)
    seal_file(path, kind)
    if kind == "shard":
        relist(store)


def _spoil(path: Path, pick: random.Random, first: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(pick.choice((1, 2, 8, 40))):
        data[pick.randrange(first, min(len(data), pick.choice((3000, len(data)))))] = pick.choice(
            (0, 255, pick.randrange(256))
        )
    path.write_bytes(data)


def _of_json(seed: int, place: Place, name: str) -> None:
    path = place.given / name
    path.write_text(json.dumps(mutated(json.loads(path.read_bytes()), seed)[1]))


def _of_weights(seed: int, place: Place) -> None:
    path = place.given / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(mutated(json.loads(data[8 : 8 + size]), seed)[1]).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])
    config = json.loads((place.given / "config.json").read_bytes())
    del config["lgcoamix"]["sha256"]
    (place.given / "config.json").write_text(json.dumps(config))


def _of_checkpoint(seed: int, place: Place) -> None:
    for name in ("best.pt", "last.pt"):
        state = torch.load(place.given / name, weights_only=True)
        plain = {key: value for key, value in state.items() if not _holds_tensors(value)}
        state |= mutated(plain, seed)[1]
        torch.save(state, place.given / name)


def _holds_tensors(value: object) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(map(_holds_tensors, value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor)


_Maker = tuple[str, str, Callable[[int, Place], None]]
_MAKERS: dict[str, tuple[_Maker, ...]] = {
    "stores": (
        ("document", "raw", _of_document),
        ("array", "raw", _of_array),
        ("document", "coded", _of_document),
        ("array", "coded", _of_array),
        ("bytes of a shard", "raw", partial(_of_bytes, kind="shard")),
        ("bytes of an index", "raw", partial(_of_bytes, kind="index")),
        ("bytes of a pack", "packed", partial(_of_bytes, kind="pack")),
    ),
    "models": (("configuration", "model", partial(_of_json, name="config.json")), ("weights", "model", _of_weights)),
    "runs": (
        ("checkpoint", "run", _of_checkpoint),
        ("configuration", "run", partial(_of_json, name="config.json")),
        ("results", "run", partial(_of_json, name="results.json")),
    ),
}
