"""OpenCV decoding JPEG images from memory, and nothing else: neither maps nor crops. No loader can be faster a core."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from tests.benchmarks.race.peers.memory_map import Batches, write
from tests.benchmarks.race.samples import BATCH, decode_image
from tests.benchmarks.race.work import Epochs, Tensors

__all__ = ["read", "write"]


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    batches = Batches(folder, form)
    codes, ends = batches.codes[0], batches.ends[0]
    labels = torch.from_numpy(batches.labels)

    def epoch() -> Iterator[Tensors]:
        for start in range(0, len(batches), BATCH):
            for number in range(start, min(start + BATCH, len(batches))):
                image = decode_image(form, codes[ends[number] : ends[number + 1]])
            yield torch.from_numpy(image), torch.empty(0), labels[start : start + BATCH]

    return Epochs(epoch)
