"""Sound things to copy and to compare with: raw images, stores of three kinds, a run, an exported model."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.build.settings import BuildSettings
from preprocess.datasets import DATASETS
from preprocess.datasets.base import Listing, Sample
from preprocess.store import Store
from preprocess.store.pack import pack
from preprocess.superpixels import Scale

TOKEN = b"Kx7mQz2wVb9rTy4u"  # what is secret outside of a case
SIDE = 16
BUILD = ("--size", "16", "--segments", "4,9", "--shard-size", "4", "--jobs", "1", "--algorithm", "watershed")
SMALL = (
    *("--backbone", "resnet10t", "--weights", "none", "--image-size", "32", "--batch-size", "4", "--epochs", "1"),
    *("--device", "cpu", "--workers", "0", "--no-tensorboard", "--no-pictures"),
)
_SETTINGS = {
    "raw": BuildSettings("folder", (Scale(4, 0.5), Scale(9, 0.5)), size=SIDE, shard_size=4, algorithm="watershed"),
    "coded": BuildSettings(
        "folder", (Scale(4, 1.0),), size=SIDE, shard_size=4, algorithm="grid", resize="short", codec="png"
    ),
}


def make_stores(home: Path) -> None:
    """Write ``raw-images``, and the stores ``raw``, ``coded`` (PNG, sizes that vary, boxes) and ``packed``."""
    random = np.random.default_rng(7)
    for split, count in (("train", 4), ("test", 3)):
        for name in "ab":
            folder = home / "raw-images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
                coarse.resize((24, 20 + index), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    listing = DATASETS["folder"].find(home / "raw-images")
    for name, settings in _SETTINGS.items():
        (home / name).mkdir()
        found = listing if name == "raw" else _with_boxes(listing)
        build(make_plan(home / name / "x.h5", found, settings), 1, False, lambda done: None)
    first = min((home / "raw" / "x.shards" / "train" / "images").iterdir())
    (home / "outside-shard.h5").write_bytes(first.read_bytes())
    (home / "packed").mkdir()
    pack(Store(home / "raw" / "x.h5"), home / "packed" / "x.h5", lambda done: None)


def _with_boxes(listing: Listing) -> Listing:
    splits = {
        split: tuple(Sample(one.key, one.label, one.path, ((1.0, 2.0, 9.0, 8.0),)) for one in samples)
        for split, samples in listing.splits.items()
    }
    return Listing(listing.classes, splits)


def make_outside(home: Path, shard: Path) -> None:
    """Write what a case may neither read nor touch: a secret in several forms, and a shard that is not its own."""
    home.mkdir()
    secret = TOKEN * 4096  # as pixels, any image of it shows the token
    (home / "secret.bin").write_bytes(secret)
    (home / "secret.txt").write_bytes(TOKEN)
    pixels = np.frombuffer(secret[: 4 * SIDE * SIDE * 3], np.uint8).reshape(4, SIDE, SIDE, 3)
    with h5py.File(home / "secret.h5", "w") as file:
        file["images"], file["maps"] = pixels, pixels[..., 0] % 4
        file["labels"], file["keys"] = np.zeros(4, np.int32), np.frombuffer(secret[:64], "S16")
        file["document"] = "{}"
    (home / "shard.h5").write_bytes(shard.read_bytes())
    (home / "folder").mkdir()
    (home / "folder" / "kept.txt").write_bytes(b"kept")
