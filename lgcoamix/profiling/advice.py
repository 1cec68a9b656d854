"""Measurements of where a run spends its time, and the change they recommend. Does not import torch."""

import math
from dataclasses import asdict, dataclass
from typing import Any

_LITTLE = 0.05  # fraction of waiting that is not worth a change
_FASTER = 1.1  # required speed-up of the resident loader: less is noise on a shared machine


@dataclass(frozen=True)
class Steps:
    """Speed of training with one loader.

    Parameters
    ----------
    steps : number of steps measured.
    milliseconds : duration of a step, waiting included.
    images_per_second : training speed.
    waiting : fraction of time spent waiting for data, in [0, 1].
    """

    steps: int
    milliseconds: float
    images_per_second: float
    waiting: float


@dataclass(frozen=True)
class Measurements:
    """Measurements of a store, a recipe and a machine. Times are in milliseconds; stages run in one process.

    Parameters
    ----------
    codec, resize, stored_size : format of stored images, as in ``preprocess build``: ``raw``, ``jpeg`` or ``png``;
        resize mode; pixels.
    image_size, batch_size : input size in pixels and batch size of a step.
    device : ``cuda``, ``cpu`` or ``mps``.
    with_maps : whether the method needs maps.
    cores, threads, workers : usable cores, torch's CPU threads, DataLoader workers.
    samples : number of samples read.
    read_cold : per sample, after dropping the files from the page cache; None if that is unsupported.
    read, decode, augment, transfer : per sample, from cached files.
    step : per batch, already on the device.
    streaming, resident : training with each loader; None if the images do not fit, differ in size, or are augmented.
    store_bytes, memory_bytes : size of the training split with maps; free memory of the machine.
    resident_bytes : device memory for all splits; None for images of different sizes, or augmented ones.
    augmented : whether albumentations changes the crops.
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
    augmented: bool = False

    @property
    def cached(self) -> bool:
        """Whether the files fit in memory, so that only the first epoch reads from disk."""
        return self.store_bytes <= self.memory_bytes

    @property
    def stages(self) -> dict[str, float]:
        """Milliseconds per sample of each stage of a DataLoader worker, in a typical epoch."""
        cold = self.read if self.read_cold is None else self.read_cold
        return {"read": self.read if self.cached else cold, "decode": self.decode, "augment": self.augment}

    @property
    def load(self) -> float:
        """Sum of the stages, in milliseconds per sample."""
        return sum(self.stages.values())

    @property
    def images_per_second(self) -> float:
        """Speed of steps that never wait."""
        return 1000 * self.batch_size / self.step

    @property
    def workers_needed(self) -> int:
        """Workers needed to keep up with the step, estimated from the stages and from the measured throughput.

        The latter gives more if workers contend with each other or for memory bandwidth.
        """
        by_stages = self.load * self.batch_size / self.step
        return math.ceil(max(by_stages, self.workers * self.images_per_second / self.streaming.images_per_second))

    @property
    def workers_possible(self) -> int:
        """Cores left free by the step, which occupies one core if it runs on an accelerator."""
        return max(0, self.cores - (self.threads if self.device == "cpu" else 1))

    def as_plain(self) -> dict[str, Any]:
        """Convert to plain data, with derived values and the recommendation."""
        derived = ("cached", "load", "workers_needed", "workers_possible")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}, "recommendation": recommend(self)}


def recommend(found: Measurements) -> str:
    """Recommend the most promising change, in one sentence."""
    waiting = found.streaming.waiting
    if waiting < _LITTLE:
        return f"Nothing to do: steps wait for data only {_percent(waiting)} of the time."
    start = f"Steps wait for data {_percent(waiting)} of the time: "
    resident = found.resident
    if resident and resident.images_per_second > _FASTER * found.streaming.images_per_second:
        gain = resident.images_per_second / found.streaming.images_per_second
        return (
            f"{start}train with --loader resident, which keeps the data set in device memory "
            f"({found.resident_bytes / 1e9:.2f} GB) and is {gain:.1f} times as fast."
        )
    workers = min(found.workers_needed, found.workers_possible)
    if workers > found.workers:
        more = f"; with more cores, {found.workers_needed} would keep up with the step"
        return f"{start}train with --workers {workers}{more if workers < found.workers_needed else ''}."
    stage = max(found.stages, key=found.stages.get)
    return f"{start}{_REMEDIES[stage](found)}."


def _remedy_for_reading(found: Measurements) -> str:
    if found.cached:
        return f"reading dominates, although the files are cached; {_remedy_by_size(found)}"
    return (
        "reading dominates, and the files do not fit in memory; put the store on a local disk, or pack it into one "
        "file (python -m lgcoamix preprocess pack)"
    )


def _remedy_for_decoding(found: Measurements) -> str:
    squash = "" if found.resize == "squash" else "--resize squash "
    return f"decoding dominates; build the store with {squash}--codec raw, which takes more space"


def _remedy_for_augmenting(found: Measurements) -> str:
    what = "cropping, resizing and --augment dominate" if found.augmented else "cropping and resizing dominate"
    return f"{what}; {_remedy_by_size(found)}"


def _remedy_by_size(found: Measurements) -> str:
    if found.stored_size is None:
        return f"build the store with --resize short and a --size closer to the input size of {found.image_size} pixels"
    if found.stored_size > 1.25 * found.image_size:
        return (
            f"build the store with a --size closer to the input size of {found.image_size} pixels than "
            f"{found.stored_size}"
        )
    return "images are already stored at about the input size, so only more or faster cores help"


_REMEDIES = {"read": _remedy_for_reading, "decode": _remedy_for_decoding, "augment": _remedy_for_augmenting}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
