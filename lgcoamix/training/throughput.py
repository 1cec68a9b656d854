"""How long steps take, and how long they wait for their data."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from lgcoamix.ops.batch import Batch


class Waiting:
    """Time that steps spend waiting for their data.

    Notes
    -----
    On CUDA the host runs ahead of the device, so events are put into the device's own queue: before the next batch is
    asked for and after it came. Between the two the device trains nothing: it waits, or makes a resident batch.
    Elsewhere a clock does.
    """

    def __init__(self, device: torch.device) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] | None = [] if device.type == "cuda" else None
        self._seconds = 0.0

    def around(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Give the same batches, and measure."""
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
        """Seconds so far. On CUDA it waits for the device."""
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
    """Time that an epoch trains and waits for data; it goes on where an interrupted process left it.

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
        """Start to count."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stand still, for example during evaluation."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Training so far, waiting included."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    @property
    def waited(self) -> float:
        """Waiting for data so far. On CUDA it waits for the device."""
        return self._waited + self.waiting.seconds()
