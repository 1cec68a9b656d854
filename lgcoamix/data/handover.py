"""Hand batches from loading processes to the training process in shared memory that is used again and again.

A batch that is pickled takes fresh shared memory. To get its pages from the kernel, and to give them back, takes longer
than to read and crop the images. So a worker keeps a few pieces of memory and writes its crops into them; the training
process marks a piece as free once no tensor uses it any more.
"""

import math
import os
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

Form = tuple[tuple[int, ...], np.dtype]  # shape and dtype


class Pieces:
    """The shared memory of this process, if it is a worker that hands over its batches; else ordinary memory."""

    def __init__(self) -> None:
        self.shared = False
        self._pieces: list[Tensor] = []  # uint8; the last byte of each is 0 while it is free
        self._taken: Tensor | None = None

    def arrays(self, *forms: Form) -> list[np.ndarray]:
        """Make the arrays of a batch, whose values are not set."""
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in forms]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]).tolist()
        piece = self._take(starts[-1]) if self.shared else None
        if piece is None:
            return [np.empty(*form) for form in forms]
        cut = zip(forms, starts, sizes, strict=False)
        return [piece.numpy()[at : at + size].view(dtype).reshape(shape) for (shape, dtype), at, size in cut]

    def hand_over(self, batch: Any) -> Any:
        """Wrap a batch whose tensors are in the piece that was taken last, to be pickled without them.

        What else a data set returns stays as it is, and the piece in use: its tensors may be anywhere in there.
        """
        piece, self._taken = self._taken, None
        if piece is None or not isinstance(batch, Batch):
            return batch
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        within = [name for name, value in values.items() if isinstance(value, Tensor) and _is_in(value, piece)]
        if not within:
            piece[-1] = 0
            return batch
        return Handed(values, within, piece)

    def _take(self, size: int) -> Tensor | None:
        """A free piece of at least ``size`` bytes, a new one, or none if too many are in use."""
        free = [piece for piece in self._pieces if not piece[-1]]
        piece = next((piece for piece in free if len(piece) > size), None)
        if piece is None:
            if free:  # too small
                self._pieces = [kept for kept in self._pieces if kept is not free[0]]
            if len(self._pieces) >= _MOST:
                return None
            piece = torch.empty(size + 1, dtype=torch.uint8).share_memory_()
            self._pieces.append(piece)
        piece[-1] = 1
        self._taken = piece
        return piece


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
                small = isinstance(value, Tensor) and value.nbytes < _SMALL
                others[name] = value.numpy() if small else value
        return _received, (self.piece, places, others)


def _is_in(tensor: Tensor, piece: Tensor) -> bool:
    return 0 <= tensor.data_ptr() - piece.data_ptr() < len(piece)


def _received(piece: Tensor, places: dict[str, tuple], others: dict[str, Any]) -> Batch:
    """Make the batch anew, in the memory of the worker."""
    whole = piece.numpy()  # all tensors of the batch refer to it, and it dies with the last of them
    weakref.finalize(whole, _set_free, piece, os.getpid()).atexit = False
    tensors = {name: _tensor(whole, *place) for name, place in places.items()}
    others = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in others.items()}
    return Batch(**tensors, **others)


def _tensor(whole: np.ndarray, start: int, dtype: torch.dtype, shape: tuple, stride: tuple) -> Tensor:
    count = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    return torch.from_numpy(whole[start : start + count * dtype.itemsize]).view(dtype).as_strided(shape, stride)


def _set_free(piece: Tensor, process: int) -> None:
    if process == os.getpid():  # not in a fork, which forgets a batch that is still used here
        piece[-1] = 0
