"""WebDataset: tar files, read one after another; shards in random order and a buffer of samples to draw from.

Batches are made within the workers, as its documentation advises, so that a process hands over one object a batch.
Members have a time in whole seconds: for another, as is the default, tarfile parses a second header each.
"""

from collections.abc import Iterable
from pathlib import Path

import webdataset

from tests.benchmarks.race.samples import BATCH, Samples
from tests.benchmarks.race.work import Collate, Tensors

_SHARD, _BUFFER = 100, 256  # samples


def write(folder: Path, samples: Samples) -> None:
    with webdataset.ShardWriter(f"{folder}/%02d.tar", maxcount=_SHARD, verbose=0, mtime=0) as writer:
        for number, (image, ids, label) in enumerate(samples):
            writer.write({"__key__": f"{number:04d}", "img": image, "map": ids, "cls": str(label).encode()})


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    shards = sorted(map(str, folder.glob("*.tar")))
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(_BUFFER)
        .to_tuple("img", "map", "cls")
        .batched(BATCH, collation_fn=Collate(form))
    )
    return webdataset.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
