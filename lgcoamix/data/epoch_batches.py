"""The order of samples, for any training loop: a function of (seed, epoch), independent of the number of workers."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

import torch
from torch import distributed
from torch.utils.data import BatchSampler

from lgcoamix.ops.inputs import whole_number
from lgcoamix.ops.seeding import derive_seed


@dataclass
class _Shown:
    """The epoch that began last, and how much of it was shown: 1 for a pass that was left, 2 for a whole one."""

    epoch: int
    passes: int = 0


_begun: dict[tuple, _Shown] = {}  # for each order, in this process


class EpochBatches(BatchSampler):
    """Batches of (epoch, position) pairs; each pass is the next epoch.

    A data set of this package makes window, flip and scale of a sample from (seed, epoch, sample), so an epoch is the
    same for any number of workers and processes. Give it to a DataLoader as ``batch_sampler``.

    Parameters
    ----------
    length : number of samples.
    batch_size : B of all processes together. A last batch is smaller; one that has not two samples for every process
        joins the batch before it: BatchNorm may not take one.
    seed : seed of the order; None keeps every sample in order, for evaluation: each process takes every ``world``-th,
        in batches of ``batch_size``.
    rank, world : this process and the number of processes. Each epoch, every sample comes once, in one of them.
    sampler : left to frameworks that place their own sampler here: ``rank`` and ``num_replicas`` of a
        DistributedSampler replace ``rank`` and ``world``. Lightning does so by itself.

    Raises
    ------
    ValueError : no samples, fewer than processes, or a smaller batch; an impossible argument.

    Warns
    -----
    UserWarning : an epoch begins again, after a whole pass or two that were left early, here or in an EpochBatches just
        like it that was in use before this one was made; a pass goes on although another epoch was set; every one of
        several processes reads all samples.

    Notes
    -----
    With DataLoader workers, batches are made ahead of their use, and so is :meth:`state_dict`: torchdata's
    StatefulDataLoader keeps account of that.

    Examples
    --------
    >>> from lgcoamix import EpochBatches
    >>> batches = EpochBatches(length=10, batch_size=4, seed=0)
    >>> [len(batch) for batch in batches]
    [4, 4, 2]
    >>> next(iter(batches))[0][0], next(iter(batches))[0][0]  # the epochs that follow
    (1, 2)
    >>> list(EpochBatches(length=3, batch_size=2, seed=None))
    [[(0, 0), (0, 1)], [(0, 2)]]
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        world: int = 1,
        *,
        sampler: object = None,
    ) -> None:
        self.length, self.batch_size = whole_number("length", length, 0), whole_number("batch_size", batch_size, 1)
        self.seed = None if seed is None else whole_number("seed", seed)
        self.rank = whole_number("rank", getattr(sampler, "rank", rank), 0)
        self.world = whole_number("world", getattr(sampler, "num_replicas", world), 1)
        if self.rank >= self.world:
            raise ValueError(f"rank must be below world, got rank {self.rank} of {self.world}")
        self._start = self._reached = (0, 0)  # epoch and batch: of the next pass, and after the last batch made
        # One that was made before any was used is another data set's; one that is made later may replace it.
        self._last = _begun.get(self._key(), _Shown(-1))
        self._told: int | None = None  # the epoch that was set since the last pass began

    @property
    def sampler(self) -> Self:
        """This object: Lightning and Accelerate call ``set_epoch`` of a batch sampler's sampler."""
        return self

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        if self.seed is None:
            return -(-len(range(self.rank, self.length, self.world)) // self.batch_size)
        return self._count()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Make the batches of the next epoch, or the rest of the one whose state was loaded."""
        if self.seed is None:
            yield from self.batches(0)
            return
        self._check_processes(_divided(sys._getframe(1)))
        epoch, first = self._start
        if _thrown_away(sys._getframe(1)):
            yield from self.batches(epoch, first)
            return
        shown = self._begin(epoch, first)
        self._start = (epoch + 1, 0)
        for number, batch in enumerate(self.batches(epoch, first), start=first + 1):
            self._reached = (epoch, number) if number < len(self) else (epoch + 1, 0)
            yield batch
            self._check_told(epoch)
        shown.passes += 1

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be this epoch, from 0. The epoch of a loaded state goes on where it was."""
        epoch = self._told = whole_number("epoch", epoch, 0)
        if epoch != self._start[0]:
            self._start = self._reached = (epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return where the next batch is: plain numbers."""
        epoch, batch = self._reached
        return {"epoch": epoch, "batch": batch, **self._order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on at a state.

        Raises
        ------
        ValueError : the state of another order, or no state.
        """
        differ = [
            f"{name} {state.get(name)!r}, not {own!r}" for name, own in self._order().items() if state.get(name) != own
        ]
        if differ:
            raise ValueError(f"the state belongs to another order of samples: {', '.join(differ)}")
        epoch, batch = (whole_number(name, state.get(name), 0) for name in ("epoch", "batch"))
        if batch >= max(1, len(self)):
            raise ValueError(f"no batch {batch} in epoch {epoch}; an epoch has {len(self)}")
        self._start = self._reached = (epoch, batch)
        self._last = _Shown(epoch - 1, 2)

    def batches(self, epoch: int, first: int = 0) -> Iterator[list[tuple[int, int]]]:
        """Make this process's batches of any epoch, from batch ``first`` on."""
        positions, cut = self._positions(epoch)
        for number in range(first, len(self)):
            yield [(epoch, position) for position in positions[cut(number)]]

    def _positions(self, epoch: int) -> tuple[Sequence[int], Callable[[int], slice]]:
        """Return the order of an epoch, and which part of it is this process's batch of a number."""
        if self.seed is None:
            size = self.batch_size
            return range(self.rank, self.length, self.world), lambda number: slice(number * size, (number + 1) * size)
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, epoch))
        return torch.randperm(self.length, generator=generator).tolist(), self._cut

    def _count(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        return max(full + (rest >= 2 * self.world), min(1, self.length))

    def _cut(self, number: int) -> slice:
        begin, end = number * self.batch_size, (number + 1) * self.batch_size
        count = (end if number < len(self) - 1 else self.length) - begin
        return slice(begin + count * self.rank // self.world, begin + count * (self.rank + 1) // self.world)

    def _order(self) -> dict[str, int | None]:
        return {"length": self.length, "batch_size": self.batch_size, "seed": self.seed}

    def _key(self) -> tuple:
        return (self.rank, self.world, *self._order().values())

    def _check_processes(self, divided: bool) -> None:
        """Refuse or report what would show samples in no process, or in all."""
        if not self.length:
            raise ValueError("length must be the number of samples, got 0; is the data set empty?")
        if min(self.length, self.batch_size) < self.world:
            raise ValueError(
                f"{self.world} processes cannot share {self.length} samples in batches of {self.batch_size}; "
                "batch_size is that of all processes together"
            )
        if divided and self.world > 1:
            raise ValueError(
                "Accelerate divides the batches among its processes: leave out rank and world, or do not prepare the "
                "loader"
            )
        others = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if self.world == 1 and others > 1 and not divided:
            warnings.warn(
                f"each of {others} processes reads every sample: pass rank=torch.distributed.get_rank() and "
                f"world={others}",
                stacklevel=3,
            )

    def _begin(self, epoch: int, first: int) -> _Shown:
        """Note an epoch, and report one that begins again."""
        before = self._last.passes if epoch == self._last.epoch else 0
        if before > 1 and not first:
            warnings.warn(
                f"epoch {epoch} begins again: it shows the same images, windows and maps in the same order. Keep one "
                "EpochBatches for all epochs, or call its set_epoch before each (another run, or another data set, may "
                "begin so)",
                stacklevel=3,
            )
        self._told = None
        self._last = _begun[self._key()] = _Shown(epoch, before + 1)
        return self._last

    def _check_told(self, epoch: int) -> None:
        """Report a pass that goes on although another epoch was set: Lightning's first one after a checkpoint."""
        told, self._told = self._told, None
        if told not in (None, epoch):
            warnings.warn(
                f"epoch {told} was set while workers already read epoch {epoch}, which goes on. Call set_epoch before "
                "the loader is iterated; with Lightning, in train_dataloader: "
                "batches.set_epoch(self.trainer.global_step // len(batches)), where batches know rank and world",
                stacklevel=3,
            )


def _divided(frame: FrameType | None) -> bool:
    """Whether Accelerate iterates: it gives every process some of the batches, or a part of each."""
    while frame is not None:
        # Of other frames, f_locals would keep what they hold: the tensors of the caller's last step.
        caller = frame.f_locals.get("self") if frame.f_globals.get("__name__") == "accelerate.data_loader" else None
        if type(caller).__name__ in ("BatchSamplerShard", "DataLoaderDispatcher"):
            return True
        frame = frame.f_back
    return False


def _thrown_away(frame: FrameType | None) -> bool:
    """Whether torchdata restores the state of a pass that has ended: it reads ahead, then begins the next pass anew."""
    while frame is not None:
        if frame.f_code.co_name == "__init__" and frame.f_globals.get("__name__", "").startswith("torchdata."):
            state = frame.f_locals.get("next_iter_state")
            return bool(state) and bool(state.get("_iterator_finished"))
        frame = frame.f_back
    return False
