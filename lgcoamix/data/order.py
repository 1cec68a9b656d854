"""Which samples come when: a function of (seed, epoch), whatever the number of workers."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch.utils.data import Sampler

from lgcoamix.ops.seeding import derive_seed


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, place) pairs. Set ``epoch``, and ``first`` to enter in the middle, before iterating.

    Parameters
    ----------
    length : number of samples.
    batch_size : B of all ranks together; a last batch of a single sample is left out, as BatchNorm could not use it.
    seed : of the order; None keeps the order and every sample, for evaluation.
    rank, world : this process and the number of processes. The order does not depend on them: in training every batch
        is cut into their shares; for evaluation each takes every ``world``-th sample.
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
            places = range(self.rank, self.length, self.world)
        else:
            generator = torch.Generator().manual_seed(derive_seed("order", self.seed, self.epoch))
            places = torch.randperm(self.length, generator=generator).tolist()
        for number in range(self.first, len(self)):
            batch = places[number * self.batch_size : (number + 1) * self.batch_size]
            if self.seed is not None:
                begin, end = self._share(number)
                # A rank without a share still takes part, with two samples that count for nothing.
                batch = batch[begin:end] or batch[:2]
            yield [(self.epoch, place) for place in batch]

    def at(self, epoch: int, first: int = 0, rank: int | None = None) -> Self:
        """The same order, to be entered at another place; or another rank's share of it."""
        other = copy.copy(self)
        other.epoch, other.first, other.rank = epoch, first, self.rank if rank is None else rank
        return other

    def size(self, number: int) -> int:
        """Samples in batch ``number`` of all ranks."""
        return min(self.batch_size, self.length - number * self.batch_size)

    def weight(self, number: int) -> float:
        """This rank's share of batch ``number``, in [0, 1]."""
        begin, end = self._share(number)
        return (end - begin) / self.size(number)

    def _share(self, number: int) -> tuple[int, int]:
        shares = split_evenly(self.size(number), self.world)
        return shares[self.rank] if self.rank < len(shares) else (0, 0)


def split_evenly(count: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``count`` samples into at most ``parts`` runs of nearly equal length, of at least two samples each.

    Returns
    -------
    (begin, end) pairs; one pair alone where there are fewer than four samples.
    """
    parts = min(parts, max(1, count // 2))
    edges = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def hold_out(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split sample numbers into training and validation, class by class.

    Parameters
    ----------
    labels : (n,) int64 array.
    share : of each class that is held out, rounded, in [0, 1).

    Returns
    -------
    Rising sample numbers for training and for validation. The choice depends on the labels alone, so every run and
    every method validates on the same samples.
    """
    random = np.random.default_rng(derive_seed("hold-out"))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[random.permutation(members)[: round(share * len(members))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
