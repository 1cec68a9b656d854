"""Reading images and maps from a store, in batches of 32, in one process."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from lgcoamix.config import DataSettings
from lgcoamix.data import SuperpixelDataset, make_transform
from preprocess.store import Store
from tests.benchmarks.common import median_seconds, photographs

_IMAGES, _BATCH = 64, 32


def measure() -> Table:
    """Compare codecs, with and without transforms, with decoding JPEG files."""
    table = Table("loading at 256, one process", "ms/sample", "bytes/sample")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for index, picture in enumerate(photographs(_IMAGES, 256)):
            folder = home / "raw" / "train" / f"class{index % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index:03d}.jpg", quality=95, subsampling=0)
        files = sorted((home / "raw").rglob("*.jpg"))
        seconds = median_seconds(lambda: [np.asarray(Image.open(file)) for file in files]) / _IMAGES
        size = sum(file.stat().st_size for file in files) / _IMAGES
        table.add_row("JPEG files, decoded by Pillow, no maps", f"{1e3 * seconds:.2f}", f"{size:.0f}")
        for codec in ("raw", "jpeg"):
            store = _build(home, codec)
            size = sum(path.stat().st_size for path in store.path.with_suffix(".shards").rglob("*.h5")) / _IMAGES
            for what, transform in (
                ("image and one map", None),
                ("the same, cropped to 224 and flipped", make_transform(DataSettings(), True, store.sentinel)),
            ):
                dataset = SuperpixelDataset(store, "train", transform)
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
