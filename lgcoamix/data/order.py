"""The batches of our own runs, and the samples that they hold out."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np

from lgcoamix.data.epoch_batches import EpochBatches
from lgcoamix.ops.seeding import derive_seed


class RunBatches(EpochBatches):
    """The batches of our own runs: they begin where they are told to, and processes share each by weight.

    Before iterating, set ``epoch``, and ``first`` to skip batches. A last batch of a single sample is dropped, as
    BatchNorm cannot use it.

    Parameters
    ----------
    length, batch_size, seed, rank, world : see :class:`EpochBatches`.
    """

    def __init__(self, length: int, batch_size: int, seed: int | None, rank: int = 0, world: int = 1) -> None:
        super().__init__(length, batch_size, seed, rank, world)
        self.epoch = self.first = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.batches(self.epoch, self.first)

    @property
    def dropped(self) -> int:
        """Number of samples that each epoch leaves out: 0 or 1."""
        return int(self.length % self.batch_size == 1 < self.batch_size)

    def at(self, epoch: int, first: int = 0, rank: int | None = None) -> Self:
        """Copy the order, to start at another epoch or batch, or for another rank."""
        other = copy.copy(self)
        other.epoch, other.first, other.rank = epoch, first, self.rank if rank is None else rank
        return other

    def size(self, number: int) -> int:
        """Count the samples in batch ``number`` over all ranks."""
        return min(self.batch_size, self.length - number * self.batch_size)

    def weight(self, number: int) -> float:
        """This rank's share of batch ``number``, in [0, 1]."""
        begin, end = self._share(number)
        return (end - begin) / self.size(number)

    def _count(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        return full + (rest > 1)

    def _cut(self, number: int) -> slice:
        begin, end = self._share(number)
        start = number * self.batch_size
        # A rank without a share still takes part, with two samples of weight 0.
        return slice(start + begin, start + end) if end > begin else slice(start, start + 2)

    def _share(self, number: int) -> tuple[int, int]:
        shares = split_evenly(self.size(number), self.world)
        return shares[self.rank] if self.rank < len(shares) else (0, 0)


def split_evenly(count: int, parts: int) -> list[tuple[int, int]]:
    """Split ``count`` samples into at most ``parts`` runs of nearly equal length, with at least two samples each.

    Returns
    -------
    (begin, end) pairs; a single pair for fewer than four samples.
    """
    parts = min(parts, max(1, count // 2))
    edges = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def hold_out(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split sample numbers into training and validation, class by class.

    Parameters
    ----------
    labels : (n,) int64 array.
    share : share of each class that is held out, in [0, 1); the number of samples is rounded.

    Returns
    -------
    Sorted sample numbers for training and for validation. The choice depends on the labels alone, so every run and
    every method validates on the same samples.

    Examples
    --------
    >>> import numpy as np
    >>> from lgcoamix import hold_out
    >>> kept, held = hold_out(np.repeat([0, 1], 5), share=0.4)
    >>> len(kept), len(held)
    (6, 4)
    """
    random = np.random.default_rng(derive_seed("hold-out"))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[random.permutation(members)[: round(share * len(members))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
