"""Estimate the time, space and memory of a build from a few images."""

import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.filesize import decimal

from preprocess import interrupt
from preprocess.build.plan import Plan, Task
from preprocess.build.task import run_task
from preprocess.errors import BuildError
from preprocess.images import encode_jpeg
from preprocess.store.format import IMAGES
from preprocess.store.shard import Shard

_MEASURED = 32


@dataclass(frozen=True)
class Forecast:
    """The estimated cost of a build."""

    images: int  # number of images listed
    measured: int  # number of images tried
    failed: int  # how many of them were unusable
    seconds: float  # time of one job for all images, without starting the workers
    raw_bytes: float  # size of all images as raw pixels
    jpeg_bytes: float  # size of all images as JPEG
    map_bytes: float  # size of all maps
    worker_bytes: float  # peak memory of a worker: the largest image shard and one copy, its maps and one decoded image


def forecast(plan: Plan) -> Forecast:
    """Store a few evenly spaced images in a temporary folder and scale up.

    Raises
    ------
    BuildError : none of these images is usable.
    """
    settings = plan.settings
    everything = [sample for samples in plan.listing.splits.values() for sample in samples]
    if not everything:
        raise BuildError("no image is left to measure; exclude fewer")
    places = sorted({round(place) for place in np.linspace(0, len(everything) - 1, _MEASURED)})
    chosen = tuple(everything[place] for place in places)
    task = Task("measured", 0, chosen, "measured", settings.columns)
    folder = tempfile.TemporaryDirectory()
    with interrupt.undoing(folder.cleanup), folder as name:
        home = Path(name)
        begin = time.perf_counter()
        report = run_task(task, home, plan.stem, settings)
        seconds = time.perf_counter() - begin
        if not report.rows:
            failure = report.failed[0]
            raise BuildError(
                f"none of {len(places)} images is usable; the first is {failure['key']}: {failure['reason']}"
            )
        maps = sum(record["bytes"] for name, record in report.records.items() if name != IMAGES) / report.rows
        with closing(Shard.open(home / report.records[IMAGES]["path"], settings.form())) as shard:
            images = [shard.read_image(row) for row in range(report.rows)]
        stored = report.records[IMAGES]["bytes"] / report.rows
    jpeg = stored
    if settings.codec != "jpeg":
        jpeg = float(np.mean([len(encode_jpeg(Image.fromarray(image), settings.quality)) for image in images]))
    usable = len(everything) * report.rows / len(places)
    raw, largest = float(np.mean([image.nbytes for image in images])), max(len(each.samples) for each in plan.tasks)
    return Forecast(
        images=len(everything),
        measured=len(places),
        failed=len(places) - report.rows,
        seconds=seconds / len(places) * len(everything),
        raw_bytes=raw * usable,
        jpeg_bytes=jpeg * usable,
        map_bytes=maps * usable,
        worker_bytes=largest * (2 * (raw if settings.codec == "raw" else stored) + maps) + 8 * raw,
    )


def refuse_without_memory(plan: Plan, jobs: int, memory: int) -> None:
    """Refuse a build whose workers cannot fit in so many bytes of memory, before they are killed for it.

    Raises
    ------
    BuildError : they need more, for an image shard, one copy of it and all maps of one image.
    """
    settings, largest = plan.settings, max((len(task.samples) for task in plan.tasks), default=0)
    if settings.size is None:
        return
    pixels = settings.size**2
    shard = largest * 2 * 3 * pixels if settings.codec == "raw" else 0
    worker = shard + len(settings.scales) * pixels * np.dtype(np.int64).itemsize
    busy = min(jobs, len(plan.tasks))
    if busy * worker > memory:
        raise BuildError(
            f"{busy} workers need at least {decimal(busy * worker)} of memory, and this machine has {decimal(memory)}: "
            "lower --jobs, --shard-size, --size or the number of maps"
        )


def advise(found: Forecast, free: int, memory: int) -> str:
    """Recommend a codec, given the free bytes on the disk of the store and the bytes of main memory."""
    raw, jpeg = found.raw_bytes + found.map_bytes, found.jpeg_bytes + found.map_bytes
    if jpeg > free:
        return f"neither fits: JPEG needs {decimal(int(jpeg))}, only {decimal(free)} is free; choose a smaller --size"
    if raw > free:
        return f"--codec jpeg: raw needs {decimal(int(raw))} but only {decimal(free)} is free"
    if raw > memory / 2:
        return (
            f"--codec jpeg: raw takes more than half of the memory ({decimal(memory)}), so every epoch would read it "
            "from disk; choose raw anyway if the disk is fast and the CPU is slow"
        )
    return f"--codec raw: it fits in memory ({decimal(memory)}) after the first epoch and needs no decoding"
