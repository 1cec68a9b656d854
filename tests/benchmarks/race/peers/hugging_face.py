"""Hugging Face datasets: an Arrow table, mapped into memory. A batch is one look-up, whose values are not copied."""

from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow

from tests.benchmarks.race.samples import Samples
from tests.benchmarks.race.work import Collate, Tensors, load

_COLUMNS = ("image", "ids", "label")


def write(folder: Path, samples: Samples) -> None:
    kinds = (datasets.Value("large_binary"), datasets.Value("binary"), datasets.Value("int64"))
    rows = [dict(zip(_COLUMNS, sample, strict=True)) for sample in samples]
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, datasets.Features(zip(_COLUMNS, kinds, strict=True))).save_to_disk(folder)


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    return load(_Batches(folder, form), workers)


class _Batches:
    def __init__(self, folder: Path, form: str) -> None:
        self.table, self.collate = datasets.load_from_disk(folder).with_format("arrow"), Collate(form)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, positions: list[int]) -> Tensors:
        table: pyarrow.Table = self.table[positions]
        images, ids = ([value.as_buffer() for value in table[name]] for name in _COLUMNS[:2])
        return self.collate(list(zip(images, ids, table["label"].to_pylist(), strict=True)))
