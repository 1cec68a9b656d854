"""Parse untrusted pickles of arrays.

No name in a pickle is looked up, and no pickled state reaches numpy, whose dtypes can be made to interpret file bytes
as memory addresses. The classes here rebuild arrays from plain numbers, and have no attributes that a pickle could set.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.metadata import REMEDY, read_bytes
from preprocess.errors import DatasetError

_NUMBERS = {"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
_LARGEST = 1 << 28  # bytes: the largest published one has 155 MB
_ORDERS = {"|", "=", "<", ">"}


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of plain data and numeric arrays, from Python 2 or 3 and any numpy version.

    Raises
    ------
    DatasetError : the file cannot be read, is damaged, is not such a dictionary, or requests a function or class.
    """
    data = read_bytes(path, _LARGEST)
    try:
        found = _Plain(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(found, dict):
            raise pickle.UnpicklingError(f"expected a dictionary, got {type(found).__name__}")
        return {as_text(name): value.values if isinstance(value, _Array) else value for name, value in found.items()}
    except Exception as error:  # pickle raises many types on damaged files
        raise DatasetError(f"{path} cannot be used: {str(error)[:200] or type(error).__name__}; {REMEDY}") from None


def as_text(name: bytes | str) -> str:
    """Decode a string of Python 2 or 3."""
    if not isinstance(name, bytes | str):
        raise pickle.UnpicklingError(f"expected text, got {type(name).__name__}")
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


class _Inert:
    """A class that accepts no state, nor do its instances."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it sets a state on an object that has none")


class _Dtype(_Inert):
    """Replaces ``numpy.dtype``."""

    __slots__ = ("code", "order")

    def __init__(self, code: bytes | str, align: bool = False, copy: bool = False) -> None:
        self.code, self.order = as_text(code), "="
        if self.code not in _NUMBERS:
            raise pickle.UnpicklingError(f"expected an array of numbers, got {self.code!r}")

    def __setstate__(self, state: tuple) -> None:
        self.order = as_text(state[1])
        if self.order not in _ORDERS or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("expected an array of numbers, got records")

    def read(self, data: bytes, shape: tuple[int, ...], order: str) -> np.ndarray:
        """Decode numbers from bytes."""
        return np.frombuffer(data, np.dtype(self.code).newbyteorder(self.order)).reshape(shape, order=order)


class _NoArray(_Inert):
    """Replaces ``numpy.ndarray``, which numpy's pickles name but never call."""

    def __init__(self, *_: object) -> None:
        raise pickle.UnpicklingError("it constructs an array in another way than numpy")


class _Array(_Inert):
    """Replaces numpy's ``_reconstruct``: an array that is filled by its state."""

    __slots__ = ("values",)

    def __init__(self, kind: type, shape: tuple, code: bytes) -> None:
        if kind is not _NoArray:
            raise pickle.UnpicklingError("it requests an array of another class")

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, by_columns, data = state
        self.values = _Dtype.read(dtype, data, shape, "F" if by_columns else "C")


class _FromBuffer(_Inert):
    """Replaces the function that numpy calls from protocol 5 on."""

    def __new__(cls, data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
        array = _Array(_NoArray, (0,), b"b")
        array.values = _Dtype.read(dtype, data, shape, order)
        return array


class _Scalar(_Inert):
    """Replaces the function that numpy calls for a scalar."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> int | float | bool:
        return _Dtype.read(dtype, data, (), "C").item()


class _Encode(_Inert):
    """Replaces the function that Python 3 calls for bytes in protocol 2."""

    def __new__(cls, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it requests the codec {encoding}")
        return text.encode("latin1")


_KNOWN: dict[tuple[str, str], type[_Inert]] = {
    ("numpy", "ndarray"): _NoArray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
    ("_codecs", "encode"): _Encode,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Inert]:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it requests {module}.{name}, which no file of this set needs")
        return _KNOWN[module, name]
