"""CIFAR's pickles: whoever wrote them, damaged, malicious."""

import codecs
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.datasets import DATASETS
from preprocess.errors import DatasetError
from tests.preprocess.datasets import official
from tests.preprocess.datasets.official import OFFICIAL
from tests.preprocess.datasets.test_official_listings import check

# ---------------------------------------------------------------------------------------------------- cifar pixels


def pixels_of(sample) -> np.ndarray:
    with Image.open(io.BytesIO(sample.read())) as image:
        assert (image.mode, image.size) == ("RGB", (32, 32))
        return np.asarray(image)


def test_a_row_is_a_red_a_green_and_a_blue_plane(tmp_path):
    official.make_cifar10(tmp_path)
    row = np.repeat(np.array([10, 20, 30], np.uint8), 1024)
    row[33] = 201  # red of the pixel in line 1, column 1
    row[1024 + 31] = 202  # green at the end of line 0
    row[3071] = 203  # blue of the last pixel
    batch = official.cifar10_batch("testing batch 1 of 1", [5], ["a.png"], row[None])
    official.save_pickles(tmp_path, {"test_batch": batch})
    (sample,) = DATASETS["cifar10"].find(tmp_path).splits["test"]
    expected = np.full((32, 32, 3), (10, 20, 30), np.uint8)
    expected[1, 1] = (201, 20, 30)
    expected[0, 31] = (10, 202, 30)
    expected[31, 31] = (10, 20, 203)
    assert np.array_equal(pixels_of(sample), expected)


def as_bytes(value: object) -> object:
    """A batch with byte strings for keys and values, as ``pickle.load(file, encoding="bytes")`` gives it."""
    if isinstance(value, dict):
        return {as_bytes(key): as_bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_bytes(item) for item in value]
    return value.encode() if isinstance(value, str) else value


def fortran(value: dict) -> dict:
    return {key: np.asfortranarray(item) if isinstance(item, np.ndarray) else item for key, item in value.items()}


def with_label_arrays(value: dict) -> dict:
    return {key: np.array(item) if key.endswith("labels") else item for key, item in value.items()}


def numpy_1(value: dict) -> bytes:
    """Protocol 4 as NumPy 1 wrote it, whose ``core`` had no underscore; frames are optional and left out."""
    data = pickle.dumps(value, 4)
    assert data[2:3] == b"\x95"
    return data[:2] + data[11:].replace(short("numpy._core.multiarray"), short("numpy.core.multiarray"))


def short(text: str) -> bytes:
    """SHORT_BINUNICODE, of protocol 4."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


WRITERS = {
    "python 2": official.python2_pickle,
    "python 2, Fortran order": lambda value: official.python2_pickle(fortran(value)),
    **{f"python 3, {protocol}": lambda value, p=protocol: pickle.dumps(value, p) for protocol in (2, 3, 4, 5)},
    **{f"bytes, {protocol}": lambda value, p=protocol: pickle.dumps(as_bytes(value), p) for protocol in (2, 3, 4, 5)},
    "Fortran order, 4": lambda value: pickle.dumps(fortran(value), 4),
    "Fortran order, 5": lambda value: pickle.dumps(fortran(value), 5),
    "numpy 1, 4": numpy_1,
    "label arrays, 4": lambda value: pickle.dumps(with_label_arrays(value), 4),
    "label arrays, 5": lambda value: pickle.dumps(with_label_arrays(value), 5),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_gives_the_same_whoever_pickled_it(name, writer, tmp_path):
    make = {"cifar10": official.make_cifar10, "cifar100": official.make_cifar100}[name]
    make(tmp_path, WRITERS[writer])
    check(name, tmp_path)
    listing = DATASETS[name].find(tmp_path)
    names = {"cifar10": ("data_batch_1", "test_batch"), "cifar100": ("train", "test")}[name]
    seeds = {"data_batch_1": 0, "test_batch": 5, "train": 0, "test": 1}  # places of the files in the builder's table
    for split, file in zip(("train", "test"), names, strict=True):
        count = {"data_batch_1": 2, "test_batch": 3, "train": 3, "test": 2}[file]
        for sample, expected in zip(listing.splits[split], official.cifar_pixels(seeds[file], count), strict=False):
            assert np.array_equal(pixels_of(sample), expected)


# ------------------------------------------------------------------------------------------------ damaged pickles


def batch_with(**changes: object) -> dict:
    """A batch of two rows with something else at some keys; None removes a key."""
    batch = official.cifar10_batch(
        "training batch 3 of 5", [1, 1], ["a.png", "b.png"], official.cifar_rows(official.cifar_pixels(2, 2))
    )
    batch.update(changes)
    return {key: value for key, value in batch.items() if value is not None}


DAMAGED = {
    "empty": b"",
    "no pickle": b"<html>404 Not Found</html>",
    "truncated": official.python2_pickle(batch_with())[:-3000],
    "truncated at its end": official.python2_pickle(batch_with())[:-1],
    "a list": official.python2_pickle([1, 2]),
    "an array": official.python2_pickle(np.zeros((2, 3072), np.uint8)),
    "no data": official.python2_pickle(batch_with(data=None)),
    "no labels": official.python2_pickle(batch_with(labels=None)),
    "no filenames": official.python2_pickle(batch_with(filenames=None)),
    "data of 3071": official.python2_pickle(batch_with(data=np.zeros((2, 3071), np.uint8))),
    "data in one dimension": official.python2_pickle(batch_with(data=np.zeros(6144, np.uint8))),
    "data in three dimensions": official.python2_pickle(batch_with(data=np.zeros((2, 3072, 1), np.uint8))),
    "data of floats": official.python2_pickle(batch_with(data=np.zeros((2, 3072), np.float32))),
    "data of signed bytes": official.python2_pickle(batch_with(data=np.zeros((2, 3072), np.int8))),
    "data is a list": official.python2_pickle(batch_with(data=[1, 2])),
    "data is text": official.python2_pickle(batch_with(data="ab")),
    "label 10": official.python2_pickle(batch_with(labels=[1, 10])),
    "label -1": official.python2_pickle(batch_with(labels=[-1, 1])),
    "label is text": official.python2_pickle(batch_with(labels=["cat", "dog"])),
    "label is a fraction": pickle.dumps(batch_with(labels=[1.5, 1]), 2),
    "labels are no list": official.python2_pickle(batch_with(labels=1)),
    "a label more": official.python2_pickle(batch_with(labels=[1, 1, 1])),
    "a label less": official.python2_pickle(batch_with(labels=[1])),
    "a name less": official.python2_pickle(batch_with(filenames=["a.png"])),
    "a name more": official.python2_pickle(batch_with(filenames=["a.png", "b.png", "c.png"])),
    "a name is a number": official.python2_pickle(batch_with(filenames=["a.png", 2])),
    "persistent": b"Pevil\n.",
    # numpy.ndarray((10**15,)): a petabyte
    "huge": b"\x80\x02}(U\x04datacnumpy\nndarray\n\x8a\x07\x00\x80\xc6\xa4\x7e\x8d\x03\x85\x85Ru.",
    "array with too few bytes": official.python2_pickle(batch_with()).replace(
        b"K\x02M\x00\x0c\x86", b"K\x03M\x00\x0c\x86"
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_batch_is_refused_by_name(damage, tmp_path):
    official.make_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(DAMAGED[damage])
    with pytest.raises(DatasetError, match="data_batch_3"):
        DATASETS["cifar10"].find(tmp_path)


@pytest.mark.parametrize(
    "meta",
    [b"", [1], {}, {"label_names": 3}, {"label_names": [1, 2]}, {"label_names": []}],
    ids=["empty", "a list", "no names", "a number", "numbers", "none"],
)
def test_damaged_class_names_are_refused_by_name(meta, tmp_path):
    official.make_cifar10(tmp_path)
    (tmp_path / "batches.meta").write_bytes(meta if isinstance(meta, bytes) else official.python2_pickle(meta))
    with pytest.raises(DatasetError, match=r"batches\.meta|data_batch_1"):
        DATASETS["cifar10"].find(tmp_path)


@pytest.mark.parametrize("labels", [[0, 100, 1], [0, 1], None], ids=["out of range", "too few", "coarse only"])
def test_fine_labels_that_do_not_fit_are_refused_by_name(labels, tmp_path):
    official.make_cifar100(tmp_path)
    batch = official.cifar100_batches()["train"]
    batch["fine_labels"] = labels
    if labels is None:
        del batch["fine_labels"]
    official.save_pickles(tmp_path, {"train": batch})
    with pytest.raises(DatasetError, match=str(tmp_path / "train")):
        DATASETS["cifar100"].find(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "data_batch_4"), ("cifar10", "test_batch"), ("cifar100", "test"), ("cifar100", "meta")],
)
def test_a_missing_batch_is_named(name, file, tmp_path):
    OFFICIAL[name].make(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(DatasetError, match=rf"\b{file}\b"):
        DATASETS[name].find(tmp_path)


# ---------------------------------------------------------------------------------------------- malicious pickles

CODEC = "official_evil"


def by_stack(module: str, name: str, argument: str) -> bytes:
    """Call ``module.name(argument)``, found by STACK_GLOBAL."""
    return b"\x80\x04" + short(module) + short(name) + b"\x93" + short(argument) + b"\x85R."


def attacks(mark: Path) -> dict[str, bytes]:
    """Pickles that leave the file ``mark`` when they are loaded by ``pickle.load``."""
    touch, opening = f"touch {mark}", f"open('{mark}', 'w').close()"
    shell, code = touch.encode(), opening.encode()
    nested = official.python2_pickle(batch_with(labels=["EVIL", 1])).split(b"U\x04EVIL")
    call = b"cposix\nsystem\n(S'" + shell + b"'\ntR"
    return {
        "os.system": b"cos\nsystem\n(S'" + shell + b"'\ntR.",
        "posix.system": b"\x80\x02" + call + b".",
        "builtins.eval": b'cbuiltins\neval\n(S"' + code + b'"\ntR.',
        "__builtin__.eval": b'c__builtin__\neval\n(S"' + code + b'"\ntR.',
        "a label": nested[0] + call + nested[1],
        "numpy.f2py": b'cnumpy.f2py.crackfortran\nmyeval\n(S"' + code + b'"\ntR.',
        "numpy.testing": b'cnumpy.testing\nrunstring\n(S"' + code + b'"\n(dtR.',
        "numpy.savetxt": b"cnumpy\nsavetxt\n(S'" + str(mark).encode() + b"'\n(F1.0\nltR.",
        "STACK_GLOBAL": by_stack("os", "system", touch),
        "INST": b"(S'" + shell + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + shell + b"'\no.",
        "dots in numpy": by_stack("numpy", "_pytesttester.os.system", touch),
        "dots in multiarray": by_stack("numpy._core.multiarray", "overrides.inspect.os.system", touch),
        "dots in numeric": by_stack("numpy._core.numeric", "builtins.eval", opening),
        "codec": b"c_codecs\nencode\n(S'" + shell + b"'\nS'" + CODEC.encode() + b"'\ntR.",
    }


ATTACKS = list(attacks(Path("mark")))
# These do nothing as they stand, and are no less out of place.
ODD = {
    "rot13": b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
    "codec by number": b"c_codecs\nencode\n(Vabc\nI7\ntR.",
    "no codec": b"c_codecs\nencode\n(tR.",
    "dotted and absent": by_stack("numpy.core.multiarray", "multiarray.os.system", "true"),
    "unknown module": by_stack("no_such_module_at_all", "thing", "true"),
    "type of an array": by_stack("numpy", "ndarray.__class__", "true"),
    "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'mro'\ntR.",
}


@pytest.fixture
def evil_codec(tmp_path: Path):
    """A codec whose use leaves the file ``mark``."""

    def encode(text: object, errors: str = "strict") -> tuple[bytes, int]:
        (tmp_path / "mark").touch()
        return b"", 0

    def search(name: str) -> codecs.CodecInfo | None:
        return codecs.CodecInfo(encode, encode) if name == CODEC else None

    codecs.register(search)
    yield
    codecs.unregister(search)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.usefixtures("evil_codec")
def test_the_attacks_are_real(attack, tmp_path):
    mark = tmp_path / "mark"
    try:
        pickle.loads(attacks(mark)[attack])
    except Exception:
        assert mark.exists()  # some fail afterwards
    assert mark.exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "data_batch_2"),
        ("cifar10", "batches.meta"),
        ("cifar10", "test_batch"),
        ("cifar100", "train"),
        ("cifar100", "meta"),
    ],
)
@pytest.mark.usefixtures("evil_codec")
def test_a_malicious_pickle_executes_nothing_and_is_named(name, file, attack, tmp_path):
    home, mark = tmp_path / "home", tmp_path / "mark"
    OFFICIAL[name].make(home)
    (home / file).write_bytes(attacks(mark)[attack])
    with pytest.raises(DatasetError, match=str(home / file)):
        DATASETS[name].find(home)
    assert not mark.exists()


@pytest.mark.parametrize("oddity", ODD)
def test_a_pickle_with_anything_but_plain_data_is_refused_by_name(oddity, tmp_path):
    official.make_cifar10(tmp_path)
    (tmp_path / "data_batch_5").write_bytes(ODD[oddity])
    with pytest.raises(DatasetError, match="data_batch_5"):
        DATASETS["cifar10"].find(tmp_path)
