"""Which samples come when: a function of (seed, epoch), whatever the number of workers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lgcoamix.data.dataset import SuperpixelDataset
from lgcoamix.mixing import Batch
from lgcoamix.seeding import derive_seed


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, place) pairs. Set ``epoch`` before iterating.

    Parameters
    ----------
    length : number of samples.
    batch_size : B; a last batch of a single sample is left out, as BatchNorm could not use it.
    seed : of the order; None keeps the order and every sample, for evaluation.
    """

    def __init__(self, length: int, batch_size: int, seed: int | None) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        return full + (rest > (0 if self.seed is None else 1))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = range(self.length)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(derive_seed("order", self.seed, self.epoch))
            order = torch.randperm(self.length, generator=generator).tolist()
        for batch in range(len(self)):
            places = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, place) for place in places]


def make_loader(
    dataset: SuperpixelDataset, batches: EpochBatches, workers: int, pin_memory: bool = False, start: str | None = None
) -> DataLoader:
    """Stream batches.

    Parameters
    ----------
    dataset, batches : what, and in which order.
    workers : loading processes; 0 loads in this one.
    pin_memory : for transfers to a GPU that overlap with computing.
    start : how workers start: ``fork``, ``spawn``, ``forkserver``; None takes the platform's default.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context=start if workers else None,
    )


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


def _as_it_is(batch: Batch) -> Batch:
    return batch
