"""The progress line of a training: losses, speed, waiting, time left."""

import time
from datetime import timedelta

from lgcoamix.ops.distributed import Ranks
from lgcoamix.settings.report import Report
from lgcoamix.training.epoch import read_finite
from lgcoamix.training.state import TrainingState

_TERMS = ("loss", "global", "local", "contrast", "mid")
_SHOW_EVERY = 2.0  # seconds; reading the losses waits for the device


class ProgressLine:
    """Progress text, refreshed every few seconds.

    Parameters
    ----------
    state : of the training.
    epochs : total number of the run.
    report : shows the line.
    """

    def __init__(self, state: TrainingState, epochs: int, report: Report) -> None:
        self.state, self.epochs, self.report = state, epochs, report
        self._begun, self._images, self._shown = time.perf_counter(), 0, 0.0

    def count(self, images: int) -> None:
        """Count the images of a finished step; on rank 0 refresh the line if it is time."""
        self._images += images
        if self.state.ranks.first and time.perf_counter() - self._shown > _SHOW_EVERY:
            self._shown = time.perf_counter()
            # Only the losses of this rank, so that the others need not wait.
            means = read_finite(self.state.progress, Ranks(self.state.ranks.device))
            terms = ", ".join(f"{name} {means[name]:.3f}" for name in _TERMS if name in means)
            self.report.show(f"{terms}, {speed(self.state.timing())}, {self.time_left()}")

    def time_left(self) -> str:
        """For example ``0:12:30 left``."""
        if not self._images:
            return "time left unknown"
        batches, progress = self.state.batches, self.state.progress
        seen = progress.epoch * batches.length + progress.number * batches.batch_size
        left = self.epochs * batches.length - seen
        seconds = left * (time.perf_counter() - self._begun) / self._images
        return f"{timedelta(seconds=round(max(0.0, seconds)))} left"


def speed(timing: dict[str, float]) -> str:
    """Images per second, and the share of the time spent waiting for data."""
    return f"{timing['images_per_second']:.0f} images/s, {100 * timing['waiting']:.0f} % waiting for data"
