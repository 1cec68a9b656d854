"""What a build will take, measured on a few images."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.filesize import decimal

from preprocess.build import Plan, Task, run_task
from preprocess.errors import BuildError
from preprocess.images import encode_jpeg
from preprocess.store.reader import IMAGES, read_shard_images

_MEASURED = 32


@dataclass(frozen=True)
class Forecast:
    """What to expect of a build.

    Parameters
    ----------
    images : number of images listed.
    measured, failed : how many were tried, and how many of these could not be used.
    seconds : one job's time for all images, without the start of the workers.
    raw_bytes, jpeg_bytes : of all images in either codec.
    map_bytes : of all maps.
    worker_bytes : at most: images of the largest shard, their maps and the file that is built of them in memory.
    """

    images: int
    measured: int
    failed: int
    seconds: float
    raw_bytes: float
    jpeg_bytes: float
    map_bytes: float
    worker_bytes: float


def forecast(plan: Plan) -> Forecast:
    """Store a few images, spread evenly over the listing, in a temporary folder, and scale up.

    Raises
    ------
    BuildError : none of them can be used.
    """
    settings, size = plan.settings, plan.settings.size
    everything = [sample for task in plan.tasks for sample in task.samples]
    places = sorted({round(place) for place in np.linspace(0, len(everything) - 1, _MEASURED)})
    task = Task("measured", 0, tuple(everything[place] for place in places), "measured")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        begin = time.perf_counter()
        columns = run_task(task, home, plan.stem, settings).columns
        seconds = time.perf_counter() - begin
        good = columns[IMAGES]["summary"]["rows"]
        if not good:
            failure = columns[IMAGES]["summary"]["failed"][0]
            raise BuildError(f"none of {len(places)} images could be used, {failure['key']}: {failure['reason']}")
        maps = sum(column["bytes"] for name, column in columns.items() if name != IMAGES) / good
        pixels = read_shard_images(home / columns[IMAGES]["path"], size)
    jpeg = float(np.mean([len(encode_jpeg(image, settings.quality)) for image in pixels]))
    usable = len(everything) * good / len(places)
    raw, largest = 3 * size * size, max(len(each.samples) for each in plan.tasks)
    loose = sum(np.dtype(settings.map_dtype(scale)).itemsize for scale in settings.scales) * size * size
    return Forecast(
        images=len(everything),
        measured=len(places),
        failed=len(places) - good,
        seconds=seconds / len(places) * len(everything),
        raw_bytes=raw * usable,
        jpeg_bytes=jpeg * usable,
        map_bytes=maps * usable,
        worker_bytes=largest * (2 * raw + loose),
    )


def advise(found: Forecast, free: int, memory: int) -> str:
    """Say which codec suits.

    Parameters
    ----------
    free : bytes free on the disk of the store.
    memory : bytes of main memory.
    """
    raw, jpeg = found.raw_bytes + found.map_bytes, found.jpeg_bytes + found.map_bytes
    if jpeg > free:
        return f"neither fits: even JPEG needs {decimal(int(jpeg))}, {decimal(free)} are free; choose a smaller --size"
    if raw > free:
        return f"--codec jpeg: raw needs {decimal(int(raw))}, {decimal(free)} are free"
    if raw > memory / 2:
        return (
            f"--codec jpeg: raw is more than half of the memory ({decimal(memory)}), so every epoch would read it from "
            "the disk; raw all the same if the disk is fast and the processor is not"
        )
    return f"--codec raw: it stays in memory ({decimal(memory)}) after the first epoch, and nothing is decoded"
