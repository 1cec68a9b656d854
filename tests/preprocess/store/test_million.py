"""A store of many samples opens without its shards and reads without growing in memory. ``make proof``: a million."""

import json
from pathlib import Path

import numpy as np
import pytest

from preprocess.store import Store
from preprocess.store.index import Index, replace_index
from preprocess.store.pack import pack
from preprocess.store.writer import ImageShard, MapShard
from tests.conftest import PROOF

ROWS = 512  # in a shard
KEY = "0" * 16
MAPS = {
    "recipe": {"algorithm": "grid", "compactness": None, "segments": 4, "scikit-image": "0"},
    "dtype": "uint8",
    "largest_id": 2,
    "least_regions": 1,
    "regions": 2,
}
SHARDS = 1954 if PROOF else 20

READER = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from preprocess.store import Store

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

shards = Path(sys.argv[1]).with_suffix(".shards")
if shards.exists():  # a packed store has none
    shards.rename(shards.with_suffix(".away"))
begin = time.perf_counter()
store = Store(sys.argv[1])  # reads the index alone
opened = time.perf_counter() - begin
begin = time.perf_counter()
labels = store.labels("train")  # and so do these
listed = time.perf_counter() - begin
if shards.with_suffix(".away").exists():
    shards.with_suffix(".away").rename(shards)
number, reads = len(store.splits["train"]), int(sys.argv[2])
random = np.random.default_rng(0)
memory, seconds, wrong = [], [], int((labels != np.arange(number) % 10).sum())
for part in range(10):
    samples = random.integers(0, number, reads // 20)  # an image and a map each
    begin = time.perf_counter()
    for start in range(0, len(samples), 100):
        batch = samples[start:start + 100]
        images, maps = store.images("train", batch), store.maps("train", 4, batch)
        wrong += int((images[:, 0, 0, 0] != batch % 251).sum() + (maps[:, 3, 3] != batch % 3).sum())
    seconds.append((time.perf_counter() - begin) / len(samples) / 2)
    memory.append(resident())
times = {"open": opened, "labels": listed, "read": sorted(seconds)[5]}
print(json.dumps({"samples": number, **times, "wrong": wrong, "memory": memory}))
"""

TRAINING = """
import json, sys, time
from lgcoamix.data import EpochBatches, SuperpixelDataset, make_loader
begin = time.perf_counter()
dataset = SuperpixelDataset(sys.argv[1])
batches = EpochBatches(len(dataset), 64, seed=0)
made = time.perf_counter()
next(iter(make_loader(dataset, batches, workers=0)))
print(json.dumps({"data set": made - begin, "first batch": time.perf_counter() - made, "samples": len(dataset)}))
"""


def column(files: list[dict], **more: object) -> dict:
    return {"content_key": KEY, "encoding_key": KEY, "files": files, **more}


def published(home: Path, path: str, shard: ImageShard | MapShard) -> dict:
    sealed = shard.finish([]) if isinstance(shard, ImageShard) else shard.finish()
    return {"path": path, "bytes": sealed.publish(home / path), "sha256": sealed.digest}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 4x4 images, made by the writer: sample i has colour i % 251 and region i % 3."""
    home = tmp_path_factory.mktemp("many")
    images, maps = [], []
    for number in range(SHARDS):
        image, ids = ImageShard(ROWS, (4, 4), varied=False), MapShard(ROWS, (4, 4), "uint8", varied=False)
        for sample in range(number * ROWS, (number + 1) * ROWS):
            pixels = np.full((4, 4, 3), sample % 251, np.uint8)
            image.add(pixels, (4, 4), sample % 10, f"train/{sample % 10}/{sample:08d}.png", bytes(32))
            ids.add(np.full((4, 4), sample % 3, np.uint8))
        images.append(published(home, f"m.shards/train/images/{number:05d}-{KEY}.h5", image))
        maps.append(published(home, f"m.shards/train/grid-4/{number:05d}-{KEY}.h5", ids))
    document = {
        "name": "m",
        "dataset": "folder",
        "classes": [str(label) for label in range(10)],
        "images": {"size": 4, "resize": "squash", "codec": "raw", "pillow": "0"},
        "superpixels": [
            {
                "name": "grid-4",
                "algorithm": "grid",
                "compactness": None,
                "scales": [{"segments": 4, "weight": 1.0, "column": "grid-4"}],
            }
        ],
        "splits": {
            "train": {
                "samples": KEY,
                "sources": KEY,
                "shard_size": ROWS,
                "rows": [ROWS] * SHARDS,
                "failed": [],
                "columns": {"images": column(images), "grid-4": column(maps, **MAPS)},
            }
        },
    }
    labels = np.arange(SHARDS * ROWS, dtype=np.int32) % 10
    assert replace_index(home / "m.h5", Index(document, labels={"train": labels}), None)
    return home / "m.h5"


@pytest.fixture(scope="module", params=["loose", "packed"])
def form(request: pytest.FixtureRequest, many: Path) -> Path:
    if request.param == "packed":
        packed = many.with_name("packed.h5")
        pack(Store(many), packed, lambda done: None)
        return packed
    return many


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_large_store_opens_without_its_shards_and_reading_at_random_does_not_grow(form, run):
    done = run("-c", READER, form, 100_000 if PROOF else 5_000)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)  # noqa: T201 - make proof ARGS=-s shows the figures
    assert found["samples"] == SHARDS * ROWS
    assert found["wrong"] == 0

    # The first tenth opens its files; from then on nothing is kept.
    assert max(found["memory"][3:]) - found["memory"][2] < 16 * 2**20


@pytest.mark.skipif(not PROOF, reason="only the figures of a million samples say something")
def test_training_starts_at_once(form, run):
    done = run("-c", TRAINING, form)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)  # noqa: T201
    assert found["samples"] == SHARDS * ROWS
    assert found["data set"] + found["first batch"] < 10
