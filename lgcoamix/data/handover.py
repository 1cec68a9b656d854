"""Hand batches from loading processes to the training process in shared memory that is used again and again.

A batch that is pickled takes fresh shared memory. To get its pages from the kernel, and to give them back, takes longer
than to read and crop the images. So a worker keeps a few pieces of memory and writes its crops into them; the training
process marks a piece as free once no tensor uses it any more. What a fork of the training process sees is given up.
"""

import math
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgcoamix.ops.batch import Batch

_MOST = 8  # pieces of a worker: two batches are loaded ahead, one or two are in use; whoever keeps more gets copies
_ALIGNED = 64  # bytes
_SMALL = 1 << 16  # bytes of a tensor that is simply pickled
_FREE, _LENT, _GIVEN_UP = range(3)  # states of a piece, in its last byte

Form = tuple[tuple[int, ...], np.dtype]  # shape and dtype


class Piece:
    """Shared memory for a batch.

    Parameters
    ----------
    size : number of bytes for the batch.
    """

    def __init__(self, size: int) -> None:
        self.memory = torch.empty(size + 1, dtype=torch.uint8, device="cpu").share_memory_()
        self.state = _state(self.memory)
        self.state[0] = _FREE
        self._used: Callable[[], np.ndarray | None] = lambda: None

    @property
    def is_free(self) -> bool:
        """Whether nobody uses it: the training process, or a data set of the user that keeps batches in this one."""
        return self.state[0] == _FREE and self._used() is None

    def take(self) -> np.ndarray:
        """All bytes, uint8; the piece is free again once no array refers to them."""
        whole = self.memory.numpy()
        self._used = weakref.ref(whole)
        return whole

    def holds(self, value: object) -> bool:
        """Whether it is a tensor in this piece."""
        return isinstance(value, Tensor) and 0 <= value.data_ptr() - self.memory.data_ptr() < len(self.memory)


class Pieces:
    """The shared memory of this process, if it is a worker that hands over its batches; else ordinary memory."""

    def __init__(self) -> None:
        self.shared = False
        self._pieces: list[Piece] = []
        self._lock = threading.Lock()  # a data set of the user may read batches in threads

    def arrays(self, *forms: Form) -> list[np.ndarray]:
        """Make the arrays of a batch, whose values are not set."""
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in forms]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]).tolist()
        whole = self._take(starts[-1]) if self.shared else None
        if whole is None:
            return [np.empty(*form) for form in forms]
        cut = zip(forms, starts, sizes, strict=False)
        return [whole[at : at + size].view(dtype).reshape(shape) for (shape, dtype), at, size in cut]

    def hand_over(self, batch: object) -> object:
        """Wrap a batch whose tensors are in a piece, to be pickled without them; return anything else as it is."""
        if type(batch) is not Batch:
            return batch
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        for piece in self._pieces:
            within = [name for name, value in values.items() if piece.holds(value)]
            if within and piece.state[0] == _FREE:
                piece.state[0] = _LENT
                return Handed(values, within, piece.memory)
        return batch

    def _take(self, size: int) -> np.ndarray | None:
        """A free piece of at least ``size`` bytes, a new one, or none if too many are in use."""
        with self._lock:
            kept = [piece for piece in self._pieces if piece.state[0] != _GIVEN_UP]
            free = [piece for piece in kept if piece.is_free]
            piece = next((piece for piece in free if len(piece.memory) > size), None)
            if piece is None:
                kept = [piece for piece in kept if piece is not free[0]] if free else kept  # too small
                if len(kept) < _MOST:
                    piece = Piece(size)
                    kept.append(piece)
            self._pieces = kept
            return None if piece is None else piece.take()


PIECES = Pieces()


class Handed:
    """A batch on its way: pickled here, it is a :class:`Batch` there.

    Parameters
    ----------
    values : its fields.
    within : names of the tensors that are in the piece of memory.
    piece : the memory.
    """

    def __init__(self, values: dict[str, Any], within: list[str], piece: Tensor) -> None:
        self.values, self.within, self.piece = values, within, piece

    def __reduce__(self) -> tuple[Callable, tuple]:
        places, others, begin = {}, {}, self.piece.data_ptr()
        for name, value in self.values.items():
            if name in self.within:
                places[name] = value.data_ptr() - begin, value.dtype, tuple(value.shape), value.stride()
            else:  # labels and sample numbers need no shared memory of their own
                small = isinstance(value, Tensor) and value.dtype == torch.int64 and value.nbytes < _SMALL
                others[name] = value.numpy() if small else value
        return _received, (self.piece, places, others)


def _received(piece: Tensor, places: dict[str, tuple], others: dict[str, Any]) -> Batch:
    """Make the batch anew, in the memory of the worker."""
    whole = piece.numpy()  # all tensors of the batch refer to it, and it dies with the last of them
    _lent[id(whole)] = _state(piece)
    weakref.finalize(whole, _set_free, id(whole)).atexit = False
    tensors = {name: _tensor(whole, *place) for name, place in places.items()}
    others = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in others.items()}
    return Batch(**tensors, **others)


def _tensor(whole: np.ndarray, start: int, dtype: torch.dtype, shape: tuple, stride: tuple) -> Tensor:
    count = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    return torch.from_numpy(whole[start : start + count * dtype.itemsize]).view(dtype).as_strided(shape, stride)


def _state(piece: Tensor) -> np.ndarray:
    """The state of a piece: (1,) uint8. NumPy sets it even while torch only traces what it is told."""
    return piece.numpy()[-1:]


_lent: dict[int, np.ndarray] = {}  # states of the pieces whose batches this process uses


def _set_free(number: int) -> None:
    state = _lent.pop(number)
    if state[0] == _LENT:
        state[0] = _FREE


def _give_up() -> None:
    """Leave all batches to the process that is forked now: nobody learns when it uses them no more."""
    for state in list(_lent.values()):
        state[0] = _GIVEN_UP


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_give_up)
