"""Checksums and unpacked maps are the same with zlib-ng, which an extra brings, and with the standard library."""

import binascii
import importlib
import itertools
import zlib

import numpy as np
import pytest

from preprocess.store import format as stored


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"], autouse=True)
def library(request, monkeypatch):
    pytest.importorskip(request.param.split(".")[0])
    monkeypatch.setattr(stored, "zlib", importlib.import_module(request.param))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 63, 64, 255, 4096, 196608])
def test_checksums_are_crc_32(length):
    data = np.random.default_rng(length).bytes(length)
    whole = data + (7).to_bytes(4, "little") + b"train/a/0.png"
    assert stored.image_checksum(data, 7, b"train/a/0.png") == binascii.crc32(whole)
    assert stored.map_checksum(data) == binascii.crc32(data)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_maps_unpack_and_what_is_too_large_stops_a_byte_later(level):
    ids = bytes(range(256)) * 16
    packed = zlib.compress(ids, level)
    assert stored.inflate(packed, 4096) == ids
    assert stored.inflate(packed, 100) == ids[:101]
    assert stored.inflate(zlib.compress(bytes(1 << 24)), 4096) == bytes(4097)


@pytest.mark.parametrize("size", [1, 64, 255, 4096, 65536, 131072])
def test_whatever_an_encoder_packs_is_within_the_bound(size):
    """At worst, each byte takes 9 bits, or blocks are short because the encoder has little memory."""
    data = np.random.default_rng(size).integers(144, 256, size, np.uint8).tobytes()
    choices = itertools.product([0, 1, 6, 9], [9, 15], [1, 9], [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED])
    for level, window, memory, strategy in choices:
        encoder = stored.zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
        assert len(encoder.compress(data) + encoder.flush()) <= stored.most_packed(size)


def test_what_is_no_map_is_refused():
    with pytest.raises(Exception, match="header"):
        stored.inflate(b"no map", 4096)
    damaged = bytearray(zlib.compress(bytes(range(256)) * 16))
    damaged[-1] ^= 1  # of the checksum of zlib
    with pytest.raises(Exception, match="check"):
        stored.inflate(bytes(damaged), 4096)
