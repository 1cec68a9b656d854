"""The order of samples: a function of (seed, epoch), independent of the number of workers."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch.utils.data import Sampler

from lgcoamix.ops.seeding import derive_seed


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, position) pairs. Before iterating, set ``epoch``, and ``first`` to skip batches.

    Parameters
    ----------
    length : number of samples.
    batch_size : B of all ranks together; a last batch of a single sample is dropped, as BatchNorm cannot use it.
    seed : seed of the order; None keeps every sample in order, for evaluation.
    rank, world : this process and the number of processes. The order does not depend on them: in training the ranks
        share every batch; in evaluation each takes every ``world``-th sample.

    Examples
    --------
    >>> from lgcoamix import EpochBatches
    >>> [len(batch) for batch in EpochBatches(length=10, batch_size=4, seed=0)]
    [4, 4, 2]
    >>> list(EpochBatches(length=3, batch_size=2, seed=None))
    [[(0, 0), (0, 1)], [(0, 2)]]
    """

    def __init__(self, length: int, batch_size: int, seed: int | None, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = self.first = 0

    def __len__(self) -> int:
        if self.seed is None:
            return -(-len(range(self.rank, self.length, self.world)) // self.batch_size)
        full, rest = divmod(self.length, self.batch_size)
        return full + (rest > 1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if self.seed is None:
            positions = range(self.rank, self.length, self.world)
        else:
            generator = torch.Generator().manual_seed(derive_seed("order", self.seed, self.epoch))
            positions = torch.randperm(self.length, generator=generator).tolist()
        for number in range(self.first, len(self)):
            batch = positions[number * self.batch_size : (number + 1) * self.batch_size]
            if self.seed is not None:
                begin, end = self._share(number)
                # A rank without a share still takes part, with two samples of weight 0.
                batch = batch[begin:end] or batch[:2]
            yield [(self.epoch, position) for position in batch]

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
