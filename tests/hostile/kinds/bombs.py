"""Little that unpacks to much: chunks, codes, arrays without chunks, sides, names, documents."""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import h5py
import numpy as np
from PIL import Image

from preprocess.store.format import header_of
from preprocess.store.writer import memory_file
from tests.hostile.case import HARMLESS, REFUSED, Case, Place
from tests.hostile.craft import document_of, edit_shard, put, seal_file, write_index

_VERIFY = frozenset({"verify"})
_BOTH = frozenset({"verify", "export", "train"})
_BLOCK = bytes(1 << 24)


@cache
def _deflated(size: int) -> bytes:
    """Deflated zeros, a multiple of 16 MB of them: one block is packed, and repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (size % 65521) << 16 | 1
    return b"\x78\xda" + block * (size // len(_BLOCK)) + packer.flush() + struct.pack(">I", adler)


def _chunk(name: str, shape: tuple[int, ...], dtype: str, size: int) -> Callable[[h5py.File], None]:
    """A dataset of one chunk, whose deflated bytes unpack to ``size``, whatever its shape says."""

    def edit(file: h5py.File) -> None:
        put(file, name, shape=shape, dtype=dtype, chunks=shape, compression="gzip")
        file[name].id.write_direct_chunk((0,) * len(shape), _deflated(size))

    return edit


def _vast(name: str, shape: tuple[int, ...], dtype: str, **options: Any) -> Callable[[h5py.File], None]:
    """A dataset without any chunk on disk."""
    return lambda file: put(file, name, shape=shape, dtype=dtype, chunks=(1,) * len(shape), **options)


def _png(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes with sides as they are told."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", _deflated(1 << 26)) + part(b"IEND", b"")


def _jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _code(data: Callable[[], bytes]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        code = data()
        rest = file["codes"][file["offsets"][1] :]
        offsets = file["offsets"][()] + len(code) - file["offsets"][1]
        offsets[0] = 0
        put(file, "codes", np.concatenate([np.frombuffer(code, np.uint8), rest]))
        put(file, "offsets", offsets)

    return edit


def bombs() -> Iterator[Case]:
    """Each in a shard, the index or a pack."""
    G = 1 << 30
    for column, edit, name in (
        ("maps", _chunk("maps", (4, 16, 16), "u1", 4 * G), "a chunk of maps that unpacks to 4 GB"),
        ("maps", _chunk("maps", (4, 32768, 32768), "u1", 4 * G), "maps of 32,768 pixels in one chunk"),
        ("maps", _vast("maps", (4, 10**6, 10**6), "u1"), "maps with sides of a million"),
        ("maps", _vast("maps", (10**12, 16, 16), "u1"), "10^12 maps"),
        ("maps", _vast("regions", (10**12,), "u4"), "10^12 region counts"),
        ("maps", _vast("checksums", (10**12,), "u4"), "10^12 checksums of maps"),
        ("maps", _vast("sizes", (10**12, 2), "i4"), "10^12 sizes of maps"),
        ("images", _chunk("images", (4, 20000, 20000, 3), "u1", 4 * G), "images of 20,000 pixels in one chunk"),
        ("images", _vast("images", (4, 10**6, 10**6, 3), "u1"), "images with sides of a million"),
        ("images", _vast("images", (10**12, 16, 16, 3), "u1"), "10^12 images"),
        ("images", _vast("labels", (10**12,), "i4"), "10^12 labels"),
        ("images", _chunk("labels", (G,), "i4", 4 * G), "labels that unpack to 4 GB"),
        ("images", _vast("keys", (10**12,), "S10"), "10^12 keys"),
        ("images", _chunk("keys", (4,), f"S{G}", 4 * G), "keys of 1 GB each"),
        ("images", _vast("sources", (10**12, 32), "u1"), "10^12 sources"),
        ("images", _vast("boxes", (4, 10**12, 4), "f4"), "10^12 boxes"),
        ("images", _vast("checksums", (10**12,), "u4"), "10^12 checksums of images"),
        ("images", _vast("sizes", (10**12, 2), "i4"), "10^12 sizes of images"),
    ):
        yield Case(name, _bomb(column, edit), REFUSED, _VERIFY | {"train"})
    for name, edit in {
        "codes that unpack to 4 GB": _chunk("codes", (4 * G,), "u1", 4 * G),
        "10^12 codes": _vast("codes", (10**12,), "u1"),
        "10^12 offsets": _vast("offsets", (10**12,), "i8"),
        "PNG of 40,000 pixels": _code(lambda: _png(40_000, 40_000)),
        "PNG of 2^31 pixels": _code(lambda: _png(2**31 - 1, 2**31 - 1)),
        "PNG of 13,000 pixels": _code(lambda: _png(13_000, 13_000)),
        "PNG of no pixels": _code(lambda: _png(0, 0)),
        "JPEG of 65,500 pixels": _code(lambda: _jpeg(65_500, 65_500)),
    }.items():
        yield Case(name, _bomb("images", edit), REFUSED, _BOTH, base="coded")
    yield Case("failed that unpacks to 1 GB", _bomb("images", _chunk("failed", (1,), f"S{G}", G)), REFUSED, _VERIFY)
    yield Case("document of 60 MB of spaces", _spaces, HARMLESS)
    yield Case("document that unpacks to 1 GB", _deflated_document, REFUSED, _VERIFY)
    yield Case("10^12 places", _vast_places, REFUSED, _VERIFY)
    yield Case("pack with an index of 4 GB", _deflated_pack, REFUSED, _VERIFY, base="packed")


def _bomb(column: str, edit: Callable[[h5py.File], None]) -> Callable[[Place], None]:
    return lambda place: edit_shard(place.given / "x.h5", edit, column, mend="code" in edit.__qualname__)


def _spaces(place: Place) -> None:
    write_index(place.given / "x.h5", json.dumps(document_of(place.given / "x.h5")).encode() + b" " * 60_000_000)


def _index_of(place: Place, edit: Callable[[h5py.File], None]) -> None:
    with memory_file() as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("lgcoamix-index"), 2
        edit(file)
        file.flush()
        payload = file.id.get_file_image()
    (place.given / "x.h5").write_bytes(header_of("index", hashlib.sha256(payload).hexdigest()) + payload)


def _deflated_document(place: Place) -> None:
    _index_of(place, _chunk("document", (1,), f"S{1 << 30}", 1 << 30))


def _vast_places(place: Place) -> None:
    text = json.dumps(document_of(place.given / "x.h5")).encode()

    def edit(file: h5py.File) -> None:
        file.create_dataset("document", data=np.asarray(text, h5py.string_dtype("utf-8", len(text))))
        file.create_dataset("places/train", shape=(10**12, 2), dtype="i4", chunks=(1024, 2))

    _index_of(place, edit)


def _deflated_pack(place: Place) -> None:
    with h5py.File(place.given / "x.h5", "r+") as file:
        _chunk("index", (4 << 30,), "u1", 4 << 30)(file)
    seal_file(place.given / "x.h5", "pack")
