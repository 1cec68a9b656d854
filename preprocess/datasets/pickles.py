"""Reading pickles of arrays without trusting them.

Nothing that a pickle names is looked up, and none of its states reaches numpy, whose own dtypes can be told to take
bytes of the file for addresses. What numpy and Python write is rebuilt from plain numbers by the classes here; they
have no attributes that a pickle could set.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.metadata import REMEDY
from preprocess.errors import DatasetError

_NUMBERS = {"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
_ORDERS = {"|", "=", "<", ">"}


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of plain data and of arrays of numbers, as Python 2 or 3 and any numpy wrote it.

    Raises
    ------
    DatasetError : it cannot be read, is damaged, holds something else, or asks for any other function or class.
    """
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="bytes").load()
        if not isinstance(found, dict):
            raise pickle.UnpicklingError(f"it holds a {type(found).__name__}, expected a dictionary")
        return {as_text(name): value.values if isinstance(value, _Array) else value for name, value in found.items()}
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; {REMEDY}") from None
    except Exception as error:  # damage makes pickle raise anything
        raise DatasetError(f"{path} cannot be used: {error or type(error).__name__}; {REMEDY}") from None


def as_text(name: bytes | str) -> str:
    """Text of Python 2 or 3."""
    if not isinstance(name, bytes | str):
        raise pickle.UnpicklingError(f"expected text, got a {type(name).__name__}")
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


class _Inert:
    """Takes no state: neither do its instances, nor does the class itself."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it asks for a state where there is none")


class _Dtype(_Inert):
    """Stands for ``numpy.dtype``."""

    __slots__ = ("code", "order")

    def __init__(self, code: bytes | str, align: bool = False, copy: bool = False) -> None:
        self.code, self.order = as_text(code), "="
        if self.code not in _NUMBERS:
            raise pickle.UnpicklingError(f"it asks for an array of {self.code!r}, expected numbers")

    def __setstate__(self, state: tuple) -> None:
        self.order = as_text(state[1])
        if self.order not in _ORDERS or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it asks for an array of records, expected numbers")

    def read(self, data: bytes, shape: tuple[int, ...], order: str) -> np.ndarray:
        """Numbers from their bytes."""
        return np.frombuffer(data, np.dtype(self.code).newbyteorder(self.order)).reshape(shape, order=order)


class _NoArray(_Inert):
    """Stands for ``numpy.ndarray``, which numpy names but does not call."""

    def __init__(self, *_: object) -> None:
        raise pickle.UnpicklingError("it asks for an array in another way than numpy does")


class _Array(_Inert):
    """What numpy's ``_reconstruct`` gives: an array until its state comes."""

    __slots__ = ("values",)

    def __init__(self, kind: type, shape: tuple, code: bytes) -> None:
        if kind is not _NoArray:
            raise pickle.UnpicklingError("it asks for an array of a foreign class")

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, by_columns, data = state
        self.values = _Dtype.read(dtype, data, shape, "F" if by_columns else "C")


class _FromBuffer(_Inert):
    """What numpy calls from protocol 5 on."""

    def __new__(cls, data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
        array = _Array(_NoArray, (0,), b"b")
        array.values = _Dtype.read(dtype, data, shape, order)
        return array


class _Scalar(_Inert):
    """What numpy calls for a number of its own."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> int | float | bool:
        return _Dtype.read(dtype, data, (), "C").item()


class _Encode(_Inert):
    """What Python 3 calls to write bytes under protocol 2."""

    def __new__(cls, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
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
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of this set needs")
        return _KNOWN[module, name]
