"""DataLoaders over an order: workers, signals, transfer to the device."""

import signal
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from lgcoamix.data.order import EpochBatches
from lgcoamix.ops.batch import Batch

_GRACE = 20  # seconds that a loading process goes on after SIGTERM


def make_loader(
    dataset: Dataset, batches: EpochBatches, workers: int, pin_memory: bool = False, start: str | None = None
) -> DataLoader:
    """Stream batches.

    Parameters
    ----------
    dataset, batches : what, and in which order. A resident data set needs no workers.
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
        worker_init_fn=_leave_signals_to_the_parent,
        multiprocessing_context=start if workers else None,
    )


def end_workers(loader: DataLoader) -> None:
    """End the loading processes of a loader, now: at the end of the program torch would wait for them."""
    iterator = getattr(loader, "_iterator", None)  # where torch keeps persistent ones
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy batches to a device, on CUDA each one while the step before it computes."""
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


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _leave_signals_to_the_parent(_: int) -> None:
    # Ctrl-C, and a cluster's SIGTERM, reach every process of a run. The parent saves first, then ends its loading
    # processes; one that is left over ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
