"""Learning-rate schedules: the divisor tables of the published scripts, and cosine. One rate per epoch."""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Divisors:
    """A published divisor table."""

    length: int  # epochs of the published run; runs of other lengths scale all boundaries in proportion
    warmup: int  # number of first epochs in which the rate rises linearly: (e + 1) / warmup
    steps: tuple[tuple[int, float], ...]  # (first epoch, divisor of the base rate), in ascending order


_A = ((10, 1), (160, 2), (200, 4), (250, 8), (300, 10), (350, 20), (400, 50), (450, 100), (500, 500), (550, 1000))
_B = (
    *((10, 1), (130, 2), (170, 4), (220, 8), (260, 10), (310, 20), (350, 40), (390, 80), (420, 100), (470, 200)),
    *((500, 400), (530, 800), (560, 1000), (580, 5000)),
)
_C = (
    *((0, 1), (60, 2), (90, 4), (110, 8), (120, 10), (140, 20), (160, 40), (170, 80), (180, 100), (210, 200)),
    *((230, 400), (250, 800), (270, 1000), (290, 5000)),
)


def cosine(base: float, epoch: int, epochs: int, warmup: int | None) -> float:
    """Rise linearly over the first twentieth of the run (at most 5 epochs), then fall towards 0."""
    rise = min(5, epochs // 20) if warmup is None else warmup
    if epoch < rise:
        return base * (epoch + 1) / (rise + 1)
    return base * (1 + math.cos(math.pi * (epoch - rise) / (epochs - rise))) / 2


SCHEDULES: dict[str, Divisors | Callable[[float, int, int, int | None], float]] = {
    "cosine": cosine,
    "lgcoamix-a": Divisors(600, 10, _A),
    "lgcoamix-b": Divisors(600, 10, _B),
    "lgcoamix-c": Divisors(300, 0, _C),
    "snapmix": Divisors(200, 0, ((0, 1), (80, 10), (150, 100), (180, 1000))),
    "snapmix-scratch": Divisors(300, 0, ((0, 1), (150, 10), (225, 100), (270, 1000))),
}


def learning_rate(schedule: str, base: float, epoch: int, epochs: int, warmup: int | None = None) -> float:
    """Compute the learning rate of one epoch.

    Parameters
    ----------
    schedule : name in ``SCHEDULES``.
    base : base learning rate.
    epoch : 0-based.
    epochs : length of the run.
    warmup : epochs of the linear rise; None uses the schedule's own.
    """
    table = SCHEDULES[schedule]
    if callable(table):
        return table(base, epoch, epochs, warmup)
    if warmup is not None and epoch < warmup:
        return base * (epoch + 1) / warmup
    published = epoch * table.length / epochs
    if warmup is None and published < table.warmup:
        return base * (int(published) + 1) / table.warmup
    place = bisect.bisect_right([first for first, _ in table.steps], published) - 1
    return base / table.steps[max(0, place)][1]
