"""What a run spends its time on: reading, decoding, augmenting, transfer and the step, measured apart from each other.

Nothing is written. Every stage calls what training calls; the recommendation is a function of the figures alone.
"""

import contextlib
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lgcoamix.config import Settings
from lgcoamix.data import EpochBatches, ResidentDataset, SuperpixelDataset, View, make_loader
from lgcoamix.data.dataset import Draws
from lgcoamix.data.resident import resident_bytes
from lgcoamix.device import pick_device
from lgcoamix.engine import Means, Progress, Step, Waiting, train_one_epoch
from lgcoamix.loaders import _ROOM
from lgcoamix.mixing import Batch
from lgcoamix.preflight import RunOptions, test_split
from lgcoamix.ranks import Ranks
from lgcoamix.run import _make_step, silent
from preprocess.images import decode
from preprocess.store import Store
from preprocess.store.index import IMAGES

_SPLIT = "train"
_LITTLE = 0.05  # share of waiting that is not worth a change
_FASTER = 1.1  # what the resident loader must gain: less is the noise of a shared machine
_STEPS, _LEAST, _WARM_UP = 40, 3, 5  # steps: measured, at least, and before


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
        """Loading processes that are as fast as the step."""
        return math.ceil(self.load * self.batch_size / self.step)

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


def measure(
    store: Store,
    settings: Settings,
    options: RunOptions,
    samples: int = 512,
    seconds: float = 60.0,
    say: Callable[[str], None] = lambda _: None,
) -> Measurements:
    """Measure every stage of training from a store.

    Parameters
    ----------
    settings, options : of the run; of the options seed, device and workers matter.
    samples : at most so many are read.
    seconds : about what it may take; making the network, and a first step that compiles, come on top.
    say : is told what is being measured.

    Raises
    ------
    SettingsError : the network cannot be made, or the device is not there.
    RunError, StoreError : the store cannot be trained from.
    """
    say("making the network")
    ranks = Ranks(pick_device(options.device))
    step = _make_step(store, settings, options, ranks, silent())
    for group in step.optimiser.param_groups:
        group["lr"] = 0.0  # takes as long as any other rate, and no loss can diverge
    dataset = SuperpixelDataset(store, _SPLIT, View(settings.data, train=True), options.seed, step.mixer.needs_maps)
    files = _files(store, dataset.with_maps)
    order = _Endless(len(dataset), settings.optim.batch_size, options.seed)
    batches = _first_batches(order, samples)
    needed, free = _resident_bytes(store, settings, dataset), _free_memory()
    fits = needed is not None and needed <= _ROOM * _device_memory(step.device, free)
    share = seconds / (4 if fits else 3)
    say("reading, decoding, augmenting, transfer")
    stages = _measure_stages(dataset, batches, files, step.device, share)
    step_time, streaming, resident = _measure_steps(step, dataset, order, options.workers, fits, samples, share, say)
    return Measurements(
        codec=store.document["images"]["codec"],
        resize=store.resize,
        stored_size=store.size,
        image_size=settings.data.image_size,
        batch_size=order.size(0),
        device=step.device.type,
        with_maps=dataset.with_maps,
        cores=_cores(),
        threads=torch.get_num_threads(),
        workers=options.workers,
        **stages,
        step=step_time,
        streaming=streaming,
        resident=resident,
        store_bytes=sum(path.stat().st_size for path in files),
        memory_bytes=free,
        resident_bytes=needed,
    )


def drop_cached(paths: Iterable[Path]) -> bool:
    """Ask the kernel to forget what it holds of some files in memory; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True


class _Endless(EpochBatches):
    """The batches of one epoch after another."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for self.epoch in itertools.count():
            yield from super().__iter__()

    def size(self, number: int) -> int:
        return super().size(number % len(self))


def _first_batches(order: EpochBatches, samples: int) -> list[list[tuple[int, int]]]:
    """The first batches of the first epoch with about ``samples`` samples, at least one batch."""
    wanted = min(len(order), max(1, round(samples / order.batch_size)))
    return list(itertools.islice(order, wanted))


def _measure_stages(
    dataset: SuperpixelDataset, batches: Sequence[list], files: Sequence[Path], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Stages in milliseconds a sample, and the number of samples: what ``Measurements`` calls them."""
    begin, seen, cold = time.perf_counter(), [], 0.0
    dataset.__getitems__([indices[0] for indices in batches])  # compiles nothing, but opens shards and imports OpenCV
    asked = drop_cached(files)
    for indices in batches:
        cold += _timed(_read, dataset, dataset.draw(indices))[1]
        seen.append(indices)
        if time.perf_counter() - begin > seconds / 2:
            break
    rows: list[dict[str, float]] = []
    for indices in seen:
        rows.append(
            {name: 1000 * value / len(indices) for name, value in _time_batch(dataset, indices, device).items()}
        )
        if time.perf_counter() - begin > seconds:
            break
    samples = sum(map(len, seen))
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {"samples": samples, "read_cold": 1000 * cold / samples if asked else None, **medians}


def _time_batch(dataset: SuperpixelDataset, indices: list, device: torch.device) -> dict[str, float]:
    """Seconds of each stage for one batch, one stage after the other."""
    draws = dataset.draw(indices)
    (stored, ids), reading = _timed(_read, dataset, draws)
    images, decoding = (stored, 0.0) if _is_raw(dataset.store) else _timed(_decode, stored, dataset.store.uniform)
    (shown, ids), augmenting = _timed(_augment, dataset, images, ids, draws)
    batch = Batch(
        torch.from_numpy(shown).permute(0, 3, 1, 2),
        dataset.labels[torch.from_numpy(draws.samples)],
        None if ids is None else torch.from_numpy(np.stack(ids)),
    )
    return {"read": reading, "decode": decoding, "augment": augmenting, "transfer": _time_transfer(batch, device)}


def _read(dataset: SuperpixelDataset, draws: Draws) -> tuple[Any, list[np.ndarray] | None]:
    """Images as they are stored, pixels or coded files, and maps."""
    store, samples = dataset.store, draws.samples
    ids = dataset._read_maps(draws) if dataset.with_maps else None
    if _is_raw(store):
        return store.images(_SPLIT, samples), ids
    layout, codes = store.splits[_SPLIT], [b""] * len(samples)
    numbers, rows = layout.find(samples)
    for place in np.lexsort((rows, numbers)).tolist():
        codes[place] = store.open_shard(layout.paths[IMAGES][numbers[place]]).read_code(int(rows[place]))
    return codes, ids


def _decode(codes: Sequence[bytes], uniform: bool) -> np.ndarray | list[np.ndarray]:
    images = [np.asarray(decode(code)) for code in codes]
    return np.stack(images) if uniform else images


def _augment(
    dataset: SuperpixelDataset, images: Sequence[np.ndarray], ids: list[np.ndarray] | None, draws: Draws
) -> tuple[np.ndarray, list[np.ndarray] | None]:
    windows = dataset.view.windows([image.shape[:2] for image in images], draws.uniforms)
    return dataset._show(images, ids, windows)


def _time_transfer(batch: Batch, device: torch.device) -> float:
    if device.type == "cpu":
        return 0.0
    if device.type == "cuda":
        batch = batch.pin_memory()
    _synchronise(device)

    def move() -> None:
        batch.to(device, non_blocking=True)
        _synchronise(device)

    return _timed(move)[1]


def _timed(work: Callable, *arguments: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return work(*arguments), time.perf_counter() - begin


def _measure_steps(
    step: Step,
    dataset: SuperpixelDataset,
    order: EpochBatches,
    workers: int,
    fits: bool,
    samples: int,
    seconds: float,
    say: Callable[[str], None],
) -> tuple[float, Steps, Steps | None]:
    """Milliseconds of a step alone, and the steps behind both loaders; each for about ``seconds``."""
    say("steps alone")
    batch = dataset.__getitems__(next(iter(order))).to(step.device)
    dataset.store.close()  # nothing may be open when a loader forks
    alone = _run_steps(step, itertools.repeat(batch), order, seconds)
    say(f"steps behind the streaming loader with {workers} workers")
    loader = make_loader(dataset, order, workers, step.device.type == "cuda")
    streaming = _run_steps(step, loader, order, seconds)
    del loader  # ends its processes
    if not fits:
        return alone.milliseconds, streaming, None
    say("steps behind the resident loader")
    # A part of the data set: steps take as long as with all of it, and filling does not.
    kept = np.arange(min(len(dataset), max(samples, 2 * order.batch_size)))
    part = SuperpixelDataset(dataset.store, _SPLIT, dataset.view, dataset.seed, dataset.with_maps, kept)
    few = _Endless(len(part), order.batch_size, order.seed)
    resident = _run_steps(step, make_loader(ResidentDataset(part, step.device), few, 0), few, seconds)
    return alone.milliseconds, streaming, resident


def _run_steps(step: Step, batches: Iterable[Batch], order: EpochBatches, seconds: float) -> Steps:
    """Train for a few dozen steps, some more before to warm up; about ``seconds`` long."""
    progress = Progress(0, 0, Means(), Waiting(step.device))
    begin = time.perf_counter()
    warm: tuple[float, float, int] | None = None  # when warming up was over: clock, waited, steps
    images = 0

    def after_step(count: int) -> None:
        nonlocal warm, images
        if warm is not None:
            images += count
        elif progress.number >= _WARM_UP or time.perf_counter() - begin > seconds / 3:
            _synchronise(step.device)
            warm = time.perf_counter(), progress.waiting.seconds(), progress.number

    def enough() -> bool:
        steps = progress.number - warm[2] if warm else 0
        return steps >= _STEPS or (steps >= _LEAST and time.perf_counter() - begin > seconds)

    train_one_epoch(step, _until(enough, batches), order, progress, after_step)
    _synchronise(step.device)
    steps, lasted = progress.number - warm[2], time.perf_counter() - warm[0]
    waited = progress.waiting.seconds() - warm[1]
    return Steps(steps, 1000 * lasted / steps, images / lasted, min(1.0, waited / lasted))


def _until(enough: Callable[[], bool], batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        if enough():
            return


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _is_raw(store: Store) -> bool:
    return store.document["images"]["codec"] == "raw"


def _files(store: Store, maps: bool) -> list[Path]:
    """What training reads."""
    if store.packed:
        return [store.path]
    paths, columns = store.splits[_SPLIT].paths, store.superpixels.columns if maps else ()
    return [store.path.parent / path for column in (IMAGES, *columns) for path in paths[column]]


def _resident_bytes(store: Store, settings: Settings, train: SuperpixelDataset) -> int | None:
    if not store.uniform:
        return None
    split = test_split(store)
    test = [SuperpixelDataset(store, split, View(settings.data, train=False), maps=False)] if split else []
    return sum(map(resident_bytes, [train, *test]))


def _device_memory(device: torch.device, free: int) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free


def _free_memory() -> int:
    """Bytes that programs may still take, the page cache included; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
