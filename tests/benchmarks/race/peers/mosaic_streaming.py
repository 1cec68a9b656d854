"""MosaicML Streaming: MDS shards, here as bytes: what is not decoded by it need not be copied by it once more."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

from tests.benchmarks.race.samples import BATCH, Samples
from tests.benchmarks.race.work import Collate, Tensors


def write(folder: Path, samples: Samples) -> None:
    columns = {"image": "bytes", "ids": "bytes", "label": "int"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 26) as writer:
        for image, ids, label in samples:
            writer.write({"image": image, "ids": ids, "label": label})


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
    collate = Collate(form)

    def named(samples: Sequence[dict]) -> Tensors:
        return collate([(sample["image"], sample["ids"], sample["label"]) for sample in samples])

    return DataLoader(dataset, BATCH, num_workers=workers, persistent_workers=workers > 0, collate_fn=named)
