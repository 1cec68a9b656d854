"""DataLoaders: workers, signals, transfer to the device."""

import atexit
import errno
import os
import re
import signal
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.queues import Queue
from traceback import clear_frames, walk_tb

import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

from lgcoamix.data.epoch_batches import EpochBatches
from lgcoamix.data.handover import PIECES, HandOver
from lgcoamix.errors import RunError
from lgcoamix.ops.batch import Batch

_GRACE = 20  # seconds that a worker keeps running after SIGTERM
_TOLD = re.compile(r"DataLoader worker \(pid|Pin memory thread exited|unable to (write to file|(open|allocate) shared)")
_iterators: weakref.WeakSet[Iterator] = weakref.WeakSet()  # with workers, which the end of the program must not await
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_iterators.clear)  # they are the parent's


class _Loader(DataLoader[Batch]):
    """A DataLoader that knows its iterators: their workers may live longer than the loader."""

    def __iter__(self) -> Iterator[Batch]:
        iterator = super().__iter__()
        if not self.num_workers:
            return iterator
        _iterators.add(iterator)
        return _Batches(iterator)


class _Batches:
    """The batches of an iterator, which does not become part of the errors that it raises.

    torch refers to such an error in a function that the error refers to, and to the iterator. Python would find such a
    circle late, and then close the queues before it ends the workers: they would be waited for.
    """

    def __init__(self, iterator: Iterator[Batch]) -> None:
        self._iterator = iterator

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            return next(self._iterator)
        except Exception as error:
            clear_frames(error.__traceback__)
            raise


def make_loader(
    dataset: Dataset, batches: EpochBatches, workers: int, pin_memory: bool = False, start: str | None = None
) -> DataLoader[Batch]:
    """Build a DataLoader that yields whole :class:`Batch` objects; torch's own, with its defaults, gives tuples.

    Parameters
    ----------
    dataset, batches : the samples and their order.
    workers : DataLoader workers; 0 loads in this process, as for a resident data set.
    pin_memory : pin batches, so that their transfer to a GPU overlaps with computation.
    start : how workers start: ``fork``, ``spawn`` or ``forkserver``; None uses the platform's default.

    Examples
    --------
    >>> from lgcoamix import EpochBatches, SuperpixelDataset, make_loader
    >>> dataset = SuperpixelDataset("data/cub.h5", "train")
    >>> loader = make_loader(dataset, EpochBatches(len(dataset), batch_size=4, seed=0), workers=0)
    >>> [batch.images.shape[0] for batch in loader]
    [4, 4, 2]
    """
    from lgcoamix.data.dataset import SuperpixelDataset  # reads a store; a training step needs none

    if isinstance(dataset, SuperpixelDataset):
        dataset.prepare()
    return _Loader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=HandOver() if workers else _unchanged,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        multiprocessing_context=start if workers else None,
    )


def end_workers(loader: DataLoader) -> None:
    """End the workers of a loader at once; torch alone would wait for them when the program exits."""
    _end_workers_of(getattr(loader, "_iterator", None))


@atexit.register  # after that of multiprocessing, so it is called before: that one waits for the grace period
def _end_all_workers() -> None:
    for iterator in list(_iterators):
        _end_workers_of(iterator)


def _end_workers_of(iterator: Iterator | None) -> None:
    if hasattr(iterator, "_shutdown_workers"):  # torch has no public way to end persistent workers
        iterator._shutdown_workers()


@contextmanager
def worker_failures(remedy: str = "rerun with --workers 0") -> Iterator[None]:
    """Say what to do where a DataLoader worker died, or could not hand over its batch.

    Parameters
    ----------
    remedy : how to go on.

    Raises
    ------
    RunError : a worker died, or ``/dev/shm``, through which workers hand over batches, is full.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        shared = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
        if _broke_off(error):
            with suppress(RuntimeError):  # torch raises it as soon as it hears of the death, wherever the program is
                time.sleep(0.5)
            reason = "while it handed over a batch"
        elif shared or _TOLD.search(str(error)):
            reason = str(error).strip().splitlines()[-1].partition(". ")[0]
        else:
            raise
        cause = "" if shared or "No space left on device" in reason else "perhaps for lack of memory or "
        raise RunError(f"a DataLoader worker died ({reason}), {cause}because /dev/shm is full: {remedy}") from error


def _broke_off(error: Exception) -> bool:
    """Whether the connection ended through which a worker hands over a batch: torch may not yet know that it died."""
    modules = {frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__)}
    taken = {DataLoader.__module__, Queue.__module__} <= modules  # here, out of the queue of batches
    return taken and isinstance(error, EOFError | ConnectionError | FileNotFoundError)


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy batches to a device; on CUDA, the copy overlaps with the step on the previous batch."""
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    ahead = None
    for batch in batches:
        with torch.cuda.stream(stream):
            moved = batch.to(device, non_blocking=True)
        if ahead is not None:
            yield ahead
        current.wait_stream(stream)
        moved.record_stream(current)
        ahead = moved
    if ahead is not None:
        yield ahead


def _unchanged(batch: Batch) -> Batch:
    return batch


def _start_worker(_: int) -> None:
    PIECES.share()
    _leave_signals_to_the_parent()
    Queue._on_queue_feeder_error = _tell


def _tell(queue: Queue, _: Exception, batch: tuple[int, object]) -> None:
    """Hand over the error instead of the batch that had it: the parent would wait for this for ever."""
    number, values = batch
    if isinstance(values, ExceptionWrapper):
        os._exit(1)
    queue.put((number, ExceptionWrapper(where="in DataLoader worker process")))


def _leave_signals_to_the_parent() -> None:
    # Ctrl-C and a cluster's SIGTERM reach every process of a run. The parent saves first, then ends its workers; a
    # worker whose parent is gone ends after the grace period.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
