"""Pickles that would harm an unpickler that lets numpy read their states. Written by hand, opcode by opcode."""

import pickle
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from preprocess.datasets import DATASETS, pickles
from preprocess.errors import DatasetError
from tests.preprocess.datasets import official


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


DTYPE = named("numpy", "dtype")
NEW_ARRAY = (
    named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85" + text(b"b") + b"\x87R"
)
OBJECT = DTYPE + text(b"O") + b"K\0K\1\x87R(K\3" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
RECORD = (
    DTYPE + text(b"V8") + b"K\0K\1\x87R(K\3" + text(b"|") + b"N(" + text(b"a") + b"t}" + text(b"a")
    + OBJECT + b"K\0\x86sK\x08K\1K\0tb"
)  # fmt: skip
FORGED = NEW_ARRAY + b"(K\1K\2\x85" + RECORD + b"\x89" + text(struct.pack("<Q", 0x4141414141414141) * 2) + b"tb"


def dictionary(key: bytes, value: bytes) -> bytes:
    return b"\x80\x02}" + key + value + b"s."


def state_for(function: bytes, name: bytes, value: bytes) -> bytes:
    """BUILD with slots: sets an attribute of what is named."""
    return function + b"N}" + text(name) + value + b"s\x86b"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (FORGED, "numbers, got 'V8'"),
        (NEW_ARRAY + b"(K\1K\2\x85" + OBJECT + b"\x89" + text(bytes(16)) + b"tb", "numbers, got 'O'"),
        (NEW_ARRAY + b"(K\1K\1\x85K\7\x89" + text(bytes(1)) + b"tb", "has no attribute"),
        (named("numpy", "ndarray") + b"K\2\x85\x85R", "in another way"),
        (
            named("numpy.core.multiarray", "_reconstruct")
            + named("numpy", "dtype")
            + b"K\0\x85"
            + text(b"b")
            + b"\x87R",
            "another class",
        ),
        (named("_codecs", "encode") + text(b"abc") + text(b"rot13") + b"\x86R", "argument"),
        (named("_codecs", "encode") + b"X\3\0\0\0abcX\5\0\0\0rot13\x86R", "codec rot13"),
        (DTYPE + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"?") + b"NNNK\1K\1K\0tb", "records"),
    ],
    ids=["address as object", "objects", "no dtype", "ndarray itself", "foreign class", "py2 codec", "codec", "order"],
)
def test_a_forged_array_is_refused(value, says, tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(dictionary(text(b"data"), value))
    with pytest.raises(DatasetError) as caught:
        pickles.load_pickle(path)
    assert str(path) in str(caught.value)
    if says != "argument":  # text of Python, which differs by version
        assert says in str(caught.value)


@pytest.mark.parametrize(("module", "name"), pickles._KNOWN)
@pytest.mark.parametrize("attribute", [b"__defaults__", b"__new__", b"harmless"])
def test_no_pickle_changes_what_reads_it(module, name, attribute, tmp_path):
    before = dict(vars(pickles._KNOWN[module, name]))
    path = tmp_path / "batch"
    path.write_bytes(dictionary(text(b"a"), state_for(named(module, name), attribute, b"K\1")))
    with pytest.raises(DatasetError, match="cannot be used"):
        pickles.load_pickle(path)
    assert dict(vars(pickles._KNOWN[module, name])) == before


def test_a_key_that_is_no_text_is_refused_however_deep(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(dictionary(b"K\1" + b"\x85" * 3000, b"K\1"))
    with pytest.raises(DatasetError, match="expected text, got tuple"):
        pickles.load_pickle(path)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i2", "f8", "?"])
def test_arrays_of_numbers_come_back_from_every_protocol(protocol, dtype, tmp_path):
    values = {
        "a": np.arange(12).reshape(3, 4).astype(dtype),
        "b": np.asfortranarray(np.ones((2, 3), dtype)),
        "c": [1, b"x"],
    }
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(values, protocol))
    found = pickles.load_pickle(path)
    assert found.keys() == values.keys()
    for name in "ab":
        assert found[name].dtype == values[name].dtype
        np.testing.assert_array_equal(found[name], values[name])
    assert found["c"] == [1, b"x"]


def pixels(sample) -> bytes:
    return sample.read().removeprefix(b"P6\n32 32\n255\n")


def test_an_edited_batch_is_read_anew(tmp_path):
    official.make_cifar10(tmp_path)
    sample = DATASETS["cifar10"].find(tmp_path).splits["train"][0]
    before, path = pixels(sample), Path(sample.path)
    values = official.cifar10_batches()[path.name]
    edited = {name: 255 - value if isinstance(value, np.ndarray) else value for name, value in values.items()}
    time.sleep(0.02)
    path.write_bytes(pickle.dumps(edited, 2))
    assert pixels(sample) == bytes(255 - value for value in before)


def test_threads_do_not_mix_up_their_batches(tmp_path):
    official.make_cifar10(tmp_path)
    samples = DATASETS["cifar10"].find(tmp_path).splits["train"]
    first, last = samples[0], samples[-1]
    assert first.path != last.path
    expected = {id(sample): sample.read() for sample in (first, last)}
    wrong = []

    def read(sample) -> None:
        wrong.extend(1 for _ in range(200) if sample.read() != expected[id(sample)])

    threads = [threading.Thread(target=read, args=(sample,)) for sample in (first, last) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
