"""SHA-256 of an epoch of every form of a store: what makes loading faster must change none of them.

Run it before and after a change, and compare the tables. A row is equal for any number of workers.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from rich.table import Table

from lgcoamix.data import EpochBatches, SuperpixelDataset, View, make_loader
from lgcoamix.settings.sections import DataSettings
from preprocess.store import Store
from preprocess.store.pack import pack
from tests.benchmarks.common import REAL

_PER_CLASS = {"flowers17": 12, "cub100": 3}
_FORMS = {  # options of build, and settings of the crop
    "raw": ("--codec raw --size 256", {"crop": "random"}),
    "raw, uint16": ("--codec raw --size 256 --segments 300", {"crop": "resized"}),
    "jpeg": ("--codec jpeg --size 256", {"crop": "pad", "padding": 20, "image_size": 256}),
    "varied, jpeg": ("--codec jpeg --size 256 --resize short", {"crop": "resized"}),
    "varied, png": ("--codec png --resize none", {"crop": "resized", "test": "resize"}),
}


def measure() -> Table:
    """Sum up an epoch of every form, packed too."""
    table = Table("", "images", "maps", "labels", "files", title="SHA-256 of an epoch, its first 16 digits")
    with tempfile.TemporaryDirectory() as name:
        for dataset, most in _PER_CLASS.items():
            with tarfile.open(REAL / f"{dataset}.tar") as tar:
                tar.extractall(name, filter="data")
            for form, (options, settings) in _FORMS.items():
                store = _build(Path(name) / dataset, options, most)
                packed = store.path.with_name("packed.h5")
                pack(store, packed, lambda done: None)
                table.add_row(f"{dataset}, {form}", *_sums(store, settings), _digest(store))
                table.add_row(f"{dataset}, {form}, packed", *_sums(Store(packed), settings), "")
                for path in (packed, store.path):
                    path.unlink()
    return table


def _build(root: Path, options: str, most: int) -> Store:
    out = root.with_suffix(".h5")
    command = [sys.executable, "-m", "preprocess", "build", "folder", "--root", str(root), "--out", str(out)]
    command += ["--limit-per-class", str(most), "--shard-size", "32", *options.split()]
    subprocess.run(command, check=True, capture_output=True)
    return Store(out)


def _sums(store: Store, settings: dict) -> list[str]:
    """Digests of images, maps and labels, as the loader hands them over."""
    view = View(DataSettings(**settings), train=True)
    dataset = SuperpixelDataset(store, "train", view)
    sums = [hashlib.sha256() for _ in range(3)]
    for batch in make_loader(dataset, EpochBatches(len(dataset), 64, 0), workers=1):
        for each, values in zip(sums, (batch.images.permute(0, 2, 3, 1), batch.maps, batch.labels), strict=True):
            each.update(f"{values.shape}{values.dtype}".encode())
            each.update(values.contiguous().numpy().tobytes())
    return [each.hexdigest()[:16] for each in sums]


def _digest(store: Store) -> str:
    """Digest of the digests of all shards: equal for equal bytes on the disk."""
    return hashlib.sha256("".join(record["sha256"] for _, record in store.records()).encode()).hexdigest()[:16]
