"""Measure separately how long reading, decoding, augmenting, transfer and the step take.

Writes nothing. Every stage calls the code that training uses.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lgcoamix.data import ResidentDataset, RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.build import ROOM
from lgcoamix.data.dataset import Draws
from lgcoamix.data.loader import end_workers
from lgcoamix.data.resident import resident_bytes
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import pick_device
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.profiling.advice import Measurements, Steps
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import silent
from lgcoamix.settings.sections import Settings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.run import make_step
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from preprocess.images import decode
from preprocess.machine import cores
from preprocess.store import Store
from preprocess.store.format import IMAGES

_SPLIT = "train"
_STEPS, _LEAST, _WARM_UP = 40, 3, 5  # steps: measured, minimum, warm-up


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
    settings, options : settings of the run, and its seed, device and workers.
    samples : maximum number of samples to read.
    seconds : approximate duration, without building the network or compiling it in a first step.
    say : shows what is being measured.

    Raises
    ------
    SettingsError : the network cannot be built, or the device is missing.
    RunError, StoreError : the store does not support training.
    """
    say("building the network")
    ranks = Ranks(pick_device(options.device))
    step = still_step(store, settings, options, ranks)
    view, maps = View(settings.data, train=True), step.mixer.needs_maps
    dataset = SuperpixelDataset(store, _SPLIT, view, options.seed, maps, augment=options.augment)
    files = _files(store, dataset.with_maps)
    order = _Endless(len(dataset), settings.optim.batch_size, options.seed)
    batches = _first_batches(order, samples)
    needed, free = _resident_bytes(store, settings, dataset), _free_memory()
    fits = needed is not None and needed <= ROOM * _device_memory(step.device, free)
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
        cores=cores(),
        threads=torch.get_num_threads(),
        workers=options.workers,
        **stages,
        step=step_time,
        streaming=streaming,
        resident=resident,
        store_bytes=sum(path.stat().st_size for path in files),
        memory_bytes=free,
        resident_bytes=needed,
        augmented=dataset.augment is not None,
    )


def drop_cached(paths: Iterable[Path]) -> bool:
    """Ask the kernel to drop files from the page cache; False if that is unsupported."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True


class _Endless(RunBatches):
    """Batches of consecutive epochs, without end."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for self.epoch in itertools.count():
            yield from super().__iter__()

    def size(self, number: int) -> int:
        return super().size(number % len(self))


def _first_batches(order: RunBatches, samples: int) -> list[list[tuple[int, int]]]:
    """List the first batches of the first epoch, at least one, with about ``samples`` samples."""
    wanted = min(len(order), max(1, round(samples / order.batch_size)))
    return list(itertools.islice(order, wanted))


def _measure_stages(
    dataset: SuperpixelDataset, batches: Sequence[list], files: Sequence[Path], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Measure the stages in milliseconds per sample. Keys are fields of ``Measurements``."""
    _open_shards(dataset, batches)
    asked = drop_cached(files)
    begin, seen, cold = time.perf_counter(), [], 0.0
    for indices in batches:
        cold += timed(_read, dataset, dataset.draw(indices))[1]
        seen.append(indices)
        if time.perf_counter() - begin > seconds / 2:
            break
    rows: list[dict[str, float]] = []
    for indices in seen:
        times = _time_batch(dataset, indices, device)
        rows.append({name: 1000 * value / len(indices) for name, value in times.items()})
        if time.perf_counter() - begin > seconds:
            break
    samples = sum(map(len, seen))
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {"samples": samples, "read_cold": 1000 * cold / samples if asked else None, **medians}


def _open_shards(dataset: SuperpixelDataset, batches: Sequence[list]) -> None:
    """Read a sample of each shard, so that shards are open and OpenCV is imported, as in the middle of a run."""
    store, indices = dataset.store, list(itertools.chain(*batches))
    samples = dataset.draw(indices).samples
    firsts = np.unique(store.splits[_SPLIT].find(samples)[0], return_index=True)[1]
    dataset.__getitems__([indices[first] for first in firsts])
    for scale in store.scales if dataset.with_maps else ():
        store.maps(_SPLIT, scale.segments, samples[firsts])


def _time_batch(dataset: SuperpixelDataset, indices: list, device: torch.device) -> dict[str, float]:
    """Measure the seconds of each stage for one batch."""
    draws = dataset.draw(indices)
    (stored, ids), reading = timed(_read, dataset, draws)
    images, decoding = (stored, 0.0) if _is_raw(dataset.store) else timed(_decode, stored, dataset.store.uniform)
    (shown, ids), augmenting = timed(_augment, dataset, images, ids, draws)
    batch = Batch(
        torch.from_numpy(shown).permute(0, 3, 1, 2),
        dataset.labels[torch.from_numpy(draws.samples)],
        None if ids is None else torch.from_numpy(np.stack(ids)),
    )
    return {"read": reading, "decode": decoding, "augment": augmenting, "transfer": _time_transfer(batch, device)}


def _read(dataset: SuperpixelDataset, draws: Draws) -> tuple[Any, list[np.ndarray] | None]:
    """Read stored images, as pixels or encoded files, and maps."""
    store, samples = dataset.store, draws.samples
    ids = dataset.read_maps(draws) if dataset.with_maps else None
    if _is_raw(store):
        return store.images(_SPLIT, samples), ids
    return store.codes(_SPLIT, samples), ids


def _decode(codes: Sequence[bytes], uniform: bool) -> np.ndarray | list[np.ndarray]:
    images = [np.asarray(decode(code)) for code in codes]
    return np.stack(images) if uniform else images


def _augment(
    dataset: SuperpixelDataset, images: Sequence[np.ndarray], ids: Sequence[np.ndarray] | None, draws: Draws
) -> tuple[np.ndarray, Sequence[np.ndarray] | None]:
    windows = dataset.view.windows([image.shape[:2] for image in images], draws.uniforms)
    shown, maps = dataset.show(enumerate(images), None if ids is None else enumerate(ids), windows)
    return dataset.augmented(shown, maps, draws)


def _time_transfer(batch: Batch, device: torch.device) -> float:
    if device.type == "cpu":
        return 0.0
    if device.type == "cuda":
        batch = batch.pin_memory()
    _synchronise(device)

    def move() -> None:
        batch.to(device, non_blocking=True)
        _synchronise(device)

    return timed(move)[1]


def still_step(store: Store, settings: Settings, options: RunOptions, ranks: Ranks) -> Step:
    """Make the step of a run with a learning rate of 0: it takes as long, and its loss cannot diverge."""
    step = make_step(store, settings, options, ranks, silent())
    for group in step.optimiser.param_groups:
        group["lr"] = 0.0
    return step


def timed(work: Callable, *arguments: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds that it took."""
    begin = time.perf_counter()
    return work(*arguments), time.perf_counter() - begin


def _measure_steps(
    step: Step,
    dataset: SuperpixelDataset,
    order: RunBatches,
    workers: int,
    fits: bool,
    samples: int,
    seconds: float,
    say: Callable[[str], None],
) -> tuple[float, Steps, Steps | None]:
    """Measure a step alone in milliseconds, then training with both loaders; each for about ``seconds``."""
    say("steps alone")
    batch = dataset.__getitems__(next(iter(order))).to(step.device)
    dataset.store.close()  # no file may be open when a loader forks
    alone = _run_steps(step, itertools.repeat(batch), order, seconds)
    say(f"steps with the streaming loader, {workers} workers")
    with _ended(make_loader(dataset, order, workers, step.device.type == "cuda")) as loader:
        # All workers deliver their first batches at once, which does not reflect the steady state.
        streaming = _run_steps(step, loader, order, seconds, _WARM_UP + 2 * workers)
    if not fits:
        return alone.milliseconds, streaming, None
    say("steps with the resident loader")
    # A subset fills faster, and steps take equally long.
    kept = np.arange(min(len(dataset), max(samples, 2 * order.batch_size)))
    part = SuperpixelDataset(dataset.store, _SPLIT, dataset.view, dataset.seed, dataset.with_maps, kept)
    few = _Endless(len(part), order.batch_size, order.seed)
    resident = _run_steps(step, make_loader(ResidentDataset(part, step.device), few, 0), few, seconds)
    return alone.milliseconds, streaming, resident


@contextmanager
def _ended(loader: DataLoader) -> Iterator[DataLoader]:
    """End the DataLoader workers at once, even after a failure: its traceback would keep them alive."""
    try:
        yield loader
    finally:
        end_workers(loader)


def _run_steps(
    step: Step, batches: Iterable[Batch], order: RunBatches, seconds: float, warm_up: int = _WARM_UP
) -> Steps:
    """Warm up, then train for a few dozen steps, for about ``seconds`` in total."""
    progress = Progress(0, 0, Means(), Waiting(step.device))
    begin = time.perf_counter()
    warm: tuple[float, float, int] | None = None  # end of the warm-up: clock, waited, steps
    images = 0

    def after_step(count: int) -> None:
        nonlocal warm, images
        if warm is not None:
            images += count
        elif progress.number >= warm_up or time.perf_counter() - begin > seconds / 3:
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
    """List the files that training reads."""
    if store.packed:
        return [store.path]
    paths, columns = store.splits[_SPLIT].paths, store.superpixels.columns if maps else ()
    return [store.home / path for column in (IMAGES, *columns) for path in paths[column]]


def _resident_bytes(store: Store, settings: Settings, train: SuperpixelDataset) -> int | None:
    if not store.uniform or train.augment is not None:
        return None
    split = store.test_split
    test = [SuperpixelDataset(store, split, View(settings.data, train=False), maps=False)] if split else []
    return sum(map(resident_bytes, [train, *test]))


def _device_memory(device: torch.device, free: int) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free


def _free_memory() -> int:
    """Bytes of available memory, including the page cache; 0 if unknown."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
