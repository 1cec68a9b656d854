"""Loading batches for training: our store beside JPEG files, without superpixels and with them made on the fly."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Group
from rich.table import Table
from skimage import segmentation
from torch.utils.data import Dataset

from lgcoamix.data import EpochBatches, ResidentDataset, SuperpixelDataset, View, make_loader
from lgcoamix.data.transforms import show_window
from lgcoamix.data.windows import DRAWS
from lgcoamix.mixing import Batch
from lgcoamix.ops.seeding import uniforms
from lgcoamix.profiling.measure import drop_cached
from lgcoamix.settings.sections import DataSettings
from preprocess.images import encode_jpeg
from preprocess.machine import processor
from preprocess.store import Store
from preprocess.superpixels import slic
from tests.benchmarks.common import photographs

_IMAGES, _STORED, _SHOWN, _BATCH, _COUNT = 512, 256, 224, 16, 36
_ROUNDS, _COLD_ROUNDS = 5, 3
_WORKERS = (0, 1, 2, 4)
_Segment = Callable[[np.ndarray], np.ndarray]


class _Files(Dataset):
    """What most training scripts do: JPEG files, decoded by Pillow, through the windows that the store's images take.

    Parameters
    ----------
    paths : the files.
    segment : makes a map of the crop, or None: no maps.
    """

    def __init__(self, paths: Sequence[Path], segment: _Segment | None = None) -> None:
        self.paths, self.segment = paths, segment
        self.view = View(DataSettings(image_size=_SHOWN), train=True)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> Batch:
        epochs, places = np.array(indices).T
        stored = [np.asarray(Image.open(self.paths[place]).convert("RGB")) for place in places]
        windows = self.view.windows([image.shape[:2] for image in stored], uniforms("window", 0, epochs, places, DRAWS))
        shown = [show_window(image, windows[number], _SHOWN) for number, image in enumerate(stored)]
        maps = None
        if self.segment is not None:
            maps = torch.from_numpy(np.stack([self.segment(image).astype(np.uint8) for image in shown]))
        images = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
        return Batch(images, torch.zeros(len(places), dtype=torch.long), maps)


@dataclass(frozen=True)
class _Row:
    """One way to load.

    Parameters
    ----------
    name : in the table.
    dataset : what gives batches.
    files : what it reads, to be dropped from the cache; empty: nothing is read while training.
    """

    name: str
    dataset: Dataset
    files: tuple[Path, ...]


def measure() -> Group:
    """Sweep the loading processes for every way to load; then decoding alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one process, one core: also where the resident loader computes with torch
    try:
        with tempfile.TemporaryDirectory() as name:
            paths = _write_files(Path(name))
            return Group(_sweep(_rows(Path(name), paths)), _ceiling(paths))
    finally:
        torch.set_num_threads(threads)


def _write_files(home: Path) -> list[Path]:
    paths = []
    for number, picture in enumerate(photographs(_IMAGES, _STORED)):
        path = home / "raw" / "train" / f"class{number % 2}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(Image.fromarray(picture), 95))
        paths.append(path)
    os.sync()  # the kernel forgets only what lies on the disk
    return paths


def _rows(home: Path, paths: list[Path]) -> list[_Row]:
    raw, jpeg = _build(home, "raw"), _build(home, "jpeg")
    few = paths[: _IMAGES // 4]
    view = View(DataSettings(image_size=_SHOWN), train=True)

    def stored(name: str, store: Store, maps: bool, augment: str | None = None) -> _Row:
        columns = ("images", *(store.superpixels.columns if maps else ()))
        files = tuple(store.path.parent / path for column in columns for path in store.splits["train"].paths[column])
        return _Row(name, SuperpixelDataset(store, "train", view, maps=maps, augment=augment), files)

    resident = ResidentDataset(SuperpixelDataset(raw, "train", view), torch.device("cpu"))
    return [
        _Row("JPEG files, no maps", _Files(paths), tuple(paths)),
        _Row("JPEG files, SLIC of the crop by scikit-image", _Files(few[:64], _by_scikit_image), tuple(few[:64])),
        _Row("JPEG files, SLIC of the crop, ours", _Files(few, _by_us), tuple(few)),
        stored("store, jpeg, no maps", jpeg, maps=False),
        stored("store, jpeg, with maps", jpeg, maps=True),
        stored("store, raw, no maps", raw, maps=False),
        stored("store, raw, with maps", raw, maps=True),
        stored("store, raw, with maps, --augment light", raw, maps=True, augment="light"),
        stored("store, raw, with maps, --augment strong", raw, maps=True, augment="strong"),
        _Row("resident on the CPU, with maps", resident, ()),
    ]


def _by_us(image: np.ndarray) -> np.ndarray:
    return slic(image, _COUNT)


def _by_scikit_image(image: np.ndarray) -> np.ndarray:
    return segmentation.slic(image, _COUNT, start_label=0)


def _build(home: Path, codec: str) -> Store:
    out = home / f"{codec}.h5"
    command = [sys.executable, "-m", "preprocess", "build", "folder", "--root", str(home / "raw"), "--out", str(out)]
    subprocess.run([*command, "--codec", codec, "--size", str(_STORED)], check=True, capture_output=True)
    return Store(out)


def _sweep(rows: list[_Row]) -> Table:
    """Images/s of every row: cold, and for each number of loading processes.

    Images per second of processor time are given as well: they are what one core does, however busy the machine is.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sweep = [workers for workers in _WORKERS if workers <= max(2, cores)]
    cold = _cold(rows)
    warm = {workers: _warm(rows, workers) for workers in sweep}
    names = ("a core", "no worker, cold", *(f"{workers or 'no'} worker{'s' * (workers > 1)}" for workers in sweep))
    title = f"loader: images/s at {_SHOWN} of stored {_STORED}, batch {_BATCH}; {processor()}, {cores} cores"
    table = Table("", *names, title=title)
    for row in rows:
        rates = [warm[workers].get(row.name) for workers in sweep]
        elapsed = [None if rate is None else rate.elapsed for rate in rates]
        table.add_row(row.name, *map(_figure, (rates[0].processor, cold.get(row.name), *elapsed)))
    return table


@dataclass(frozen=True)
class _Rate:
    """Images per second, and per second of this process's processor time."""

    elapsed: float
    processor: float


def _figure(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0f}"


def _cold(rows: list[_Row]) -> dict[str, float]:
    """Images/s of this process from files that the kernel was asked to forget."""
    rates = {}
    passes = _passes(rows, 0)
    for row in rows:
        times = []
        for _ in range(_COLD_ROUNDS):
            if not (row.files and drop_cached(row.files)):
                break
            times.append(_seconds(passes[row.name])[0])
        if times:
            rates[row.name] = len(row.dataset) / statistics.median(times)
    return rates


def _warm(rows: list[_Row], workers: int) -> dict[str, _Rate]:
    """Images/s from cached files: medians of rounds, in each of which every row has its turn."""
    rows = [row for row in rows if row.files or workers == 0]  # what is resident needs no workers
    times: dict[str, list[tuple[float, float]]] = {row.name: [] for row in rows}
    passes = _passes(rows, workers)
    for number in range(1 + _ROUNDS):
        for row in rows:
            seconds = _seconds(passes[row.name])
            if number > 0:  # the first round starts the processes
                times[row.name].append(seconds)
    return {
        row.name: _Rate(*(len(row.dataset) / statistics.median(each) for each in zip(*times[row.name], strict=True)))
        for row in rows
    }


def _passes(rows: list[_Row], workers: int) -> dict[str, Callable[[], object]]:
    """A pass over the data set of every row; loading processes end when it is forgotten."""
    loaders = {}
    for row in rows:
        if isinstance(row.dataset, SuperpixelDataset):
            row.dataset.store.close()  # nothing may be open when a loader forks
        loaders[row.name] = make_loader(row.dataset, EpochBatches(len(row.dataset), _BATCH, 0), workers)
    return {name: lambda loader=loader: sum(1 for _ in loader) for name, loader in loaders.items()}


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Elapsed, and of this process's processors."""
    begin, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - busy


def _ceiling(paths: list[Path]) -> Table:
    """Decoding from memory and nothing else: no loader of JPEG can be faster with one core."""
    table = Table("decoding alone, a core, from memory", "images/s", "ms/image")
    codes = [path.read_bytes() for path in paths]
    works = {
        "Pillow": lambda: [np.asarray(Image.open(BytesIO(code))) for code in codes],
        "OpenCV (cv2.imdecode)": lambda: [cv2.imdecode(np.frombuffer(code, np.uint8), 1) for code in codes],
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(_ROUNDS):
        for name, work in works.items():
            times[name].append(_seconds(work)[1])
    for name, found in times.items():
        each = statistics.median(found) / len(codes)
        table.add_row(name, f"{1 / each:.0f}", f"{1000 * each:.2f}")
    return table
