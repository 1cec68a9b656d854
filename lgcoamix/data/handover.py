"""Hand batches from loading processes to the training process in shared memory that is used again and again.

A batch that is pickled takes fresh shared memory. To get its pages from the kernel, and to give them back, takes longer
than to read and crop the images. So a worker keeps a few pieces of memory and writes its crops into them; the training
process marks a piece as free once no tensor uses it any more. What a fork of the training process sees is given up.

Only the first batch in a piece is sent with the memory: to connect to the worker and to map it takes longer than the
rest. The training process keeps it for as long as the loader lives, and the next batches only name the piece.
"""

import math
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from lgcoamix.ops.batch import Batch

_MOST = 8  # pieces of a worker: two batches are loaded ahead, one or two are in use; whoever keeps more gets copies
_ALIGNED = 64  # bytes
_SMALL = 1 << 16  # bytes of a tensor that is simply pickled
_FREE, _LENT, _GIVEN_UP = range(3)  # states of a piece, in its last byte

Form = tuple[tuple[int, ...], np.dtype]  # shape and dtype
Name = tuple[str, str, int]  # of a piece: loader, worker, and a number below _MOST


class Piece:
    """Shared memory for a batch.

    Parameters
    ----------
    size : number of bytes for the batch.
    number : tells it from the other pieces of this process.
    """

    def __init__(self, size: int, number: int) -> None:
        self.number = number
        self.sent = False  # once it is free again, the training process has it, as nobody else sets it free
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
        self._worker: str | None = None  # name of this process, if it hands over its batches
        self._pieces: list[Piece] = []
        self._lock = threading.Lock()  # a data set of the user may read batches in threads

    def share(self) -> None:
        """Use shared memory from now on: this process is a worker."""
        self._worker = uuid4().hex
        for loader in list(_loaders.values()):
            loader.pieces.clear()  # a fork of the training process, it would keep them for as long as it lives

    def arrays(self, *forms: Form) -> list[np.ndarray]:
        """Make the arrays of a batch, whose values are not set."""
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in forms]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]).tolist()
        whole = self._take(starts[-1]) if self._worker else None
        if whole is None:
            return [np.empty(*form) for form in forms]
        cut = zip(forms, starts, sizes, strict=False)
        return [whole[at : at + size].view(dtype).reshape(shape) for (shape, dtype), at, size in cut]

    def hand_over(self, batch: object, loader: str) -> object:
        """Wrap a batch whose tensors are in a piece, to be pickled without them; return anything else as it is."""
        if type(batch) is not Batch:
            return batch
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        for piece in self._pieces:
            within = [name for name, value in values.items() if piece.holds(value)]
            if within and piece.state[0] == _FREE:
                piece.state[0] = _LENT
                new, piece.sent = not piece.sent, True
                return Handed(values, within, piece.memory, (loader, self._worker, piece.number), new)
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
                    piece = Piece(size, min(set(range(_MOST)) - {other.number for other in kept}))
                    kept.append(piece)
            self._pieces = kept
            return None if piece is None else piece.take()


PIECES = Pieces()


class HandOver:
    """Hands over the batches of a loader: its ``collate_fn``, which lives as long as the loader and its iterators.

    Parameters
    ----------
    loader : name of the loader; None makes one.
    """

    def __init__(self, loader: str | None = None) -> None:
        self.loader = loader or uuid4().hex
        self.pieces: dict[tuple[str, int], Tensor] = {}  # memory that came from the workers: name, number of the piece
        _loaders[self.loader] = self

    def __call__(self, batch: object) -> object:
        """Hand over a batch; called in a worker."""
        return PIECES.hand_over(batch, self.loader)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _found, (self.loader,)


_loaders: weakref.WeakValueDictionary[str, HandOver] = weakref.WeakValueDictionary()


def _found(loader: str) -> HandOver:
    return _loaders.get(loader) or HandOver(loader)


class Handed:
    """A batch on its way: pickled here, it is a :class:`Batch` there.

    Parameters
    ----------
    values : its fields.
    within : names of the tensors that are in the piece of memory.
    memory, name : of the piece.
    new : whether the memory is sent, or only its name.
    """

    def __init__(self, values: dict[str, Any], within: list[str], memory: Tensor, name: Name, new: bool) -> None:
        self.values, self.within, self.memory, self.name, self.new = values, within, memory, name, new

    def __reduce__(self) -> tuple[Callable, tuple]:
        places, others, begin = {}, {}, self.memory.data_ptr()
        for name, value in self.values.items():
            if name in self.within:
                places[name] = value.data_ptr() - begin, value.dtype, tuple(value.shape), value.stride()
            else:  # labels and sample numbers need no shared memory of their own
                small = isinstance(value, Tensor) and value.dtype == torch.int64 and value.nbytes < _SMALL
                others[name] = value.numpy() if small else value
        return _received, (self.name, self.memory if self.new else None, places, others)


def _received(name: Name, memory: Tensor | None, places: dict[str, tuple], others: dict[str, Any]) -> Batch:
    """Make the batch anew, in the memory of the worker."""
    loader, *piece = name
    pieces = _loaders[loader].pieces
    if memory is not None:
        pieces[*piece] = memory  # before it can become free; a piece that was dropped leaves its number to this one
    memory = pieces[*piece]
    whole = memory.numpy()  # all tensors of the batch refer to it, and it dies with the last of them
    _lent[id(whole)] = _state(memory)
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
