"""LitData: chunks, mapped into memory where they are local.

Samples are decoded one by one: by default 64 neighbours are sliced for each window of a shuffled epoch, half as fast.
"""

from collections.abc import Iterable
from pathlib import Path

from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming.writer import BinaryWriter

from tests.benchmarks.race.samples import BATCH, Samples
from tests.benchmarks.race.work import Collate, Tensors


def write(folder: Path, samples: Samples) -> None:
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, sample in enumerate(samples):
        writer.add_item(number, sample)
    writer.done()
    writer.merge()


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    dataset = StreamingDataset(str(folder), shuffle=True, batch_decode=0)
    return StreamingDataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=Collate(form),
    )
