"""What a run spends its time on, as figures, and the one change that they recommend. No torch in here."""

import math
from dataclasses import asdict, dataclass
from typing import Any

_LITTLE = 0.05  # share of waiting that is not worth a change
_FASTER = 1.1  # what the resident loader must gain: less is the noise of a shared machine


@dataclass(frozen=True)
class Steps:
    """Training steps that were fed by one loader.

    Parameters
    ----------
    steps : how many were measured.
    milliseconds : of one step, with its waiting.
    images_per_second : of training.
    waiting : share of the time that steps waited for data, in [0, 1].
    """

    steps: int
    milliseconds: float
    images_per_second: float
    waiting: float


@dataclass(frozen=True)
class Measurements:
    """The figures of one store, one recipe and one machine. Times are milliseconds; stages are of one process.

    Parameters
    ----------
    codec, resize, stored_size : of the store's images: ``raw``, ``jpeg`` or ``png``; see ``preprocess build``; pixels.
    image_size, batch_size : of the step.
    device : ``cuda``, ``cpu`` or ``mps``.
    with_maps : whether the method needs maps.
    cores, threads, workers : cores of this machine that may be used; of them torch's on the CPU; loading processes.
    samples : how many were read.
    read_cold : of a sample, after the kernel was asked to forget the files; None where it cannot be asked.
    read, decode, augment, transfer : of a sample, from files that are cached.
    step : of a batch that is on the device already.
    streaming, resident : steps behind the two loaders; None: not every image would find room, or they differ in size.
    store_bytes, memory_bytes : of the training split, images and maps; free in this machine.
    resident_bytes : that all splits take in the device's memory; None for images of different sizes.
    """

    codec: str
    resize: str
    stored_size: int | None
    image_size: int
    batch_size: int
    device: str
    with_maps: bool
    cores: int
    threads: int
    workers: int
    samples: int
    read_cold: float | None
    read: float
    decode: float
    augment: float
    transfer: float
    step: float
    streaming: Steps
    resident: Steps | None
    store_bytes: int
    memory_bytes: int
    resident_bytes: int | None

    @property
    def cached(self) -> bool:
        """Whether memory has room for the files: then only the first epoch reads from the disk."""
        return self.store_bytes <= self.memory_bytes

    @property
    def stages(self) -> dict[str, float]:
        """What a loading process does for a sample, in an epoch like most, in milliseconds."""
        cold = self.read if self.read_cold is None else self.read_cold
        return {"read": self.read if self.cached else cold, "decode": self.decode, "augment": self.augment}

    @property
    def load(self) -> float:
        """All of it, in milliseconds."""
        return sum(self.stages.values())

    @property
    def images_per_second(self) -> float:
        """Of steps that never wait."""
        return 1000 * self.batch_size / self.step

    @property
    def workers_needed(self) -> int:
        """Loading processes that are as fast as the step: by the stages, and by what those in use have reached.

        The second is more where processes wait for each other, or for memory to hand their batches over.
        """
        by_stages = self.load * self.batch_size / self.step
        return math.ceil(max(by_stages, self.workers * self.images_per_second / self.streaming.images_per_second))

    @property
    def workers_possible(self) -> int:
        """Cores that the step leaves free: on an accelerator it takes one."""
        return max(0, self.cores - (self.threads if self.device == "cpu" else 1))

    def as_plain(self) -> dict[str, Any]:
        """As plain data, with what follows from it."""
        derived = ("cached", "load", "workers_needed", "workers_possible")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}, "recommendation": recommend(self)}


def recommend(found: Measurements) -> str:
    """Choose the one change that promises most, as a sentence."""
    waiting = found.streaming.waiting
    if waiting < _LITTLE:
        return f"Nothing to do: the step takes all the time, {_percent(waiting)} of it is waiting for data."
    start = f"Steps wait for data {_percent(waiting)} of the time: "
    resident = found.resident
    if resident and resident.images_per_second > _FASTER * found.streaming.images_per_second:
        return (
            f"{start}train with --loader resident, which keeps the data set in the memory of the device "
            f"({found.resident_bytes / 1e9:.2f} GB) and is {_ratio(resident, found.streaming):.1f} times as fast."
        )
    workers = min(found.workers_needed, found.workers_possible)
    if workers > found.workers:
        more = f"; {found.workers_needed} would keep up with the step, if there were more cores"
        return f"{start}train with --workers {workers}{more if workers < found.workers_needed else ''}."
    stage = max(found.stages, key=found.stages.get)
    return f"{start}{_REMEDIES[stage](found)}."


def _remedy_for_reading(found: Measurements) -> str:
    if found.cached:
        return f"reading takes most, though files are in memory; {_remedy_by_size(found)}"
    return (
        "reading takes most, and memory does not hold the files; put the store on a local disk, or pack it into one "
        "file (python -m preprocess pack)"
    )


def _remedy_for_decoding(found: Measurements) -> str:
    squash = "" if found.resize == "squash" else "--resize squash "
    return f"decoding takes most; build the store with {squash}--codec raw, which takes more space"


def _remedy_for_augmenting(found: Measurements) -> str:
    return f"cropping and resizing take most; {_remedy_by_size(found)}"


def _remedy_by_size(found: Measurements) -> str:
    if found.stored_size is None:
        return f"build the store with --resize short and a --size nearer to the {found.image_size} pixels of the input"
    if found.stored_size > 1.25 * found.image_size:
        return (
            f"build the store with a --size nearer to the {found.image_size} pixels of the input than "
            f"{found.stored_size}"
        )
    return "images are stored at about the size of the input already, so only more or faster cores help"


_REMEDIES = {"read": _remedy_for_reading, "decode": _remedy_for_decoding, "augment": _remedy_for_augmenting}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ratio(one: Steps, other: Steps) -> float:
    return one.images_per_second / other.images_per_second
