"""Time per step, and time spent waiting for data."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from lgcoamix.ops.batch import Batch


class Waiting:
    """Time that steps spend waiting for their data.

    Notes
    -----
    On CUDA the host runs ahead of the device. Events are therefore recorded in the queue of the device, before a batch
    is requested and after it arrives. Between the two the device does not train: it waits, or crops a resident batch.
    Other devices use the clock of the host.
    """

    def __init__(self, device: torch.device) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] | None = [] if device.type == "cuda" else None
        self._seconds = 0.0

    def around(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the same batches, and time the wait for each."""
        while True:
            begin = self._now()
            batch = next(batches, None)
            if batch is None:
                return
            end = self._now()
            if self._events is None:
                self._seconds += end - begin
            else:
                self._events.append((begin, end))
            yield batch

    def seconds(self) -> float:
        """Seconds so far. On CUDA this waits for the device."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds += sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
            self._events.clear()
        return self._seconds

    def _now(self) -> Any:
        if self._events is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Clock:
    """Training and waiting time of an epoch; a resumed run continues it.

    Parameters
    ----------
    device : where the steps run.
    seconds, waited : of the epoch so far, in seconds.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0, waited: float = 0.0) -> None:
        self.waiting = Waiting(device)
        self._seconds, self._waited = seconds, waited
        self._since: float | None = None

    def go(self) -> None:
        """Start counting."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Pause, for example during evaluation."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, waiting included."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    @property
    def waited(self) -> float:
        """Seconds of waiting for data so far. On CUDA this waits for the device."""
        return self._waited + self.waiting.seconds()
