"""Writing and reading images and maps: each codec, each HDF5 filter, and whole batches as training reads them."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from rich.console import Group
from rich.table import Table

from lgcoamix.data import SuperpixelDataset, View
from lgcoamix.settings.sections import DataSettings
from preprocess.build.plan import Task
from preprocess.build.settings import BuildSettings
from preprocess.build.task import run_task
from preprocess.datasets import Sample
from preprocess.images import CODECS
from preprocess.store import Store
from preprocess.store.format import IMAGES
from preprocess.store.shard import Shard
from preprocess.superpixels import slic_multiscale
from tests.benchmarks.common import median_seconds, photographs

_IMAGES, _BATCH, _SIZE, _COUNT = 64, 32, 256, 47


def measure() -> Group:
    """Compare image codecs, map filters, and loading with decoding JPEG files."""
    pictures = photographs(_IMAGES, _SIZE)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for index, picture in enumerate(pictures):
            folder = home / "raw" / "train" / f"class{index % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index:03d}.png")
        return Group(_codecs(home), _filters(home, pictures), _loading(home))


def _codecs(home: Path) -> Table:
    """A shard of images: decoding the PNG sources is subtracted, as every codec pays it."""
    table = Table("images, one process", "write, images/s", "read, images/s", "bytes/image")
    files = sorted((home / "raw").rglob("*.png"))
    decoding = median_seconds(lambda: [np.asarray(Image.open(file)) for file in files])
    samples = tuple(Sample(file.name, 0, file) for file in files)
    settings = BuildSettings("folder", (), size=_SIZE)
    for codec, quality in [*((codec, 95) for codec in CODECS), ("jpeg", 85)]:
        chosen = replace(settings, codec=codec, quality=quality)
        records: dict = {}

        def write(chosen: BuildSettings = chosen, records: dict = records, numbers: list = [0]) -> None:  # noqa: B006
            numbers[0] += 1
            task = Task("train", 0, samples, f"{chosen.codec}{chosen.quality}{numbers[0]}", ())
            records.update(run_task(task, home / "codecs", "c", chosen).records)

        writing = median_seconds(write, 3) - decoding
        shard = Shard.open(home / "codecs" / records[IMAGES]["path"], chosen.form())
        reading = median_seconds(lambda shard=shard: [shard.read_image(row) for row in range(_IMAGES)])
        shard.close()
        name = f"{codec}, quality {quality}" if codec == "jpeg" else codec
        size = records[IMAGES]["bytes"] / _IMAGES
        table.add_row(name, f"{_IMAGES / writing:.0f}", f"{_IMAGES / reading:.0f}", f"{size:.0f}")
    return table


def _filters(home: Path, pictures: np.ndarray) -> Table:
    table = Table(f"maps of {_COUNT} segments, uint8", "write, maps/s", "read, maps/s", "bytes/map")
    maps = np.stack([slic_multiscale(picture, (_COUNT,), 10.0)[0] for picture in pictures]).astype(np.uint8)
    choices: dict[str, dict] = {
        "no filter": {},
        "lzf": {"compression": "lzf"},
        **{f"gzip {level}": {"compression": "gzip", "compression_opts": level} for level in (1, 4, 6, 9)},
        "shuffle, gzip 4": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    }
    try:
        plugin = import_module("hdf5plugin")
    except ImportError:
        pass
    else:
        choices["blosc2 lz4hc (hdf5plugin)"] = dict(plugin.Blosc2(cname="lz4hc", clevel=5))
        choices["zstd 3 (hdf5plugin)"] = dict(plugin.Zstd(clevel=3))
    for name, options in choices.items():
        path = home / "filter.h5"

        def write(path: Path = path, options: dict = options) -> None:
            with h5py.File(path, "w") as file:
                data = file.create_dataset("maps", maps.shape, maps.dtype, chunks=(1, _SIZE, _SIZE), **options)
                for row, ids in enumerate(maps):
                    data[row] = ids

        writing = median_seconds(write)
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            data = file["maps"]
            reading = median_seconds(lambda data=data: [data[row] for row in range(_IMAGES)])
            size = data.id.get_storage_size() / _IMAGES
        table.add_row(name, f"{_IMAGES / writing:.0f}", f"{_IMAGES / reading:.0f}", f"{size:.0f}")
    return table


def _loading(home: Path) -> Table:
    table = Table("loading at 256, one process", "ms/sample", "bytes/sample")
    jpegs = []
    for file in sorted((home / "raw").rglob("*.png")):
        jpegs.append(home / f"{file.stem}.jpg")
        Image.open(file).save(jpegs[-1], quality=95, subsampling=0)
    seconds = median_seconds(lambda: [np.asarray(Image.open(file)) for file in jpegs]) / _IMAGES
    size = sum(file.stat().st_size for file in jpegs) / _IMAGES
    table.add_row("JPEG files, decoded by Pillow, no maps", f"{1e3 * seconds:.2f}", f"{size:.0f}")
    for codec in CODECS:
        store = _build(home, codec)
        size = sum(record["bytes"] for _, record in store.records()) / _IMAGES
        for what, view in (
            ("image and one map", None),
            ("the same, cropped to 224 and flipped", View(DataSettings(), train=True)),
        ):
            dataset = SuperpixelDataset(store, "train", view)
            seconds = median_seconds(lambda dataset=dataset: _read_all(dataset)) / _IMAGES
            table.add_row(f"{codec}: {what}", f"{1e3 * seconds:.2f}", f"{size:.0f}")
    return table


def _build(home: Path, codec: str) -> Store:
    out = home / f"{codec}.h5"
    command = [sys.executable, "-m", "preprocess", "build", "folder", "--root", str(home / "raw"), "--out", str(out)]
    subprocess.run([*command, "--codec", codec], check=True, capture_output=True)
    return Store(out)


def _read_all(dataset: SuperpixelDataset) -> None:
    for start in range(0, len(dataset), _BATCH):
        dataset.__getitems__(range(start, min(start + _BATCH, len(dataset))))
