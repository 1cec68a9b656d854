"""Bits, bytes and ends of files: as they come, and with the digest right again."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from preprocess.store.format import HEADER_BYTES, header_of
from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.commands import ALL
from tests.hostile.craft import relist, seal_file, shard_of

_VERIFY = frozenset({"verify"})


def damage() -> Iterator[Case]:
    """Of the index, a pack, and both kinds of shard."""
    for name, header in _headers().items():
        for base in ("raw", "packed"):
            yield Case(f"header of {base}: {name}", _begin(header), REFUSED, ALL, base)
    for base, kind in (("raw", "index"), ("packed", "pack")):
        for size in (0, 1, 511, 512, 513, 600, 2000):
            yield Case(f"{kind} of {size} bytes", _cut(size, kind), REFUSED, ALL, base)
        yield Case(f"{kind}: zeros behind the header", _content(bytes(5000), kind), REFUSED, ALL, base)
        yield Case(f"{kind}: text behind the header", _content(b"zebra" * 1000, kind), REFUSED, ALL, base)
    for base, column in (("raw", "index"), ("packed", "pack"), ("raw", "images"), ("raw", "maps"), ("coded", "images")):
        for seed in range(12):
            yield Case(f"{base} {column}: flip {seed}", _flipped(column, seed, sealed=False), REFUSED, _VERIFY, base)
            yield Case(
                f"{base} {column}: sealed flips {seed}", _flipped(column, seed, sealed=True), HARMLESS, base=base
            )
            yield Case(f"{base} {column}: sealed cut {seed}", _sealed_cut(column, seed), HARMLESS, base=base)


def _headers() -> dict[str, bytes]:
    digest = "0" * 64
    return {
        "of another kind": header_of("shard", digest),
        "of no kind": header_of("zebra", digest),
        "version of 5,000 digits": b"LGCOAMix store index\nversion: " + b"9" * 5000,
        "version 3": header_of("index", digest).replace(b"version: 2", b"version: 3"),
        "version of other digits": "LGCOAMix store index\nversion: ²\n".encode(),
        "control characters": b"LGCOAMix store index\nversion: 2\nsha256: \x1b[2J\n",
        "without end of line": b"LGCOAMix store index" + b"x" * 5000,
        "zeros": bytes(HEADER_BYTES),
        "HDF5 alone": b"\x89HDF\r\n\x1a\n",
    }


def _begin(header: bytes) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path = place.given / "x.h5"
        path.write_bytes(header.ljust(HEADER_BYTES, b"\0") + path.read_bytes()[HEADER_BYTES:])

    return make


def _cut(size: int, kind: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path = place.given / "x.h5"
        path.write_bytes(path.read_bytes()[:size])
        if size >= HEADER_BYTES:
            seal_file(path, kind)

    return make


def _content(content: bytes, kind: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path = place.given / "x.h5"
        path.write_bytes(bytes(HEADER_BYTES) + content)
        seal_file(path, kind)

    return make


def _file(place: Place, column: str) -> tuple[Path, str]:
    own = column in ("index", "pack")
    return (place.given / "x.h5", column) if own else (shard_of(place.given / "x.h5", column), "shard")


def _flipped(column: str, seed: int, sealed: bool) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        pick = random.Random(seed)
        path, kind = _file(place, column)
        data = bytearray(path.read_bytes())
        for _ in range(pick.choice((1, 4, 30)) if sealed else 1):
            data[pick.randrange(HEADER_BYTES, len(data))] ^= 1 << pick.randrange(8)
        path.write_bytes(data)
        _seal(place, path, kind, sealed)

    return make


def _sealed_cut(column: str, seed: int) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        path, kind = _file(place, column)
        data = path.read_bytes()
        path.write_bytes(data[: random.Random(seed).randrange(HEADER_BYTES, len(data))])
        _seal(place, path, kind, True)

    return make


def _seal(place: Place, path: Path, kind: str, sealed: bool) -> None:
    if not sealed:
        return
    seal_file(path, kind)
    if kind == "shard":
        relist(place.given / "x.h5")
