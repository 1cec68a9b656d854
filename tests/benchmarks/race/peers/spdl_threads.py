"""SPDL: threads instead of processes, each making whole batches. It has no files of its own: these are mapped."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from spdl.pipeline import PipelineBuilder

from tests.benchmarks.race.peers.memory_map import Batches, write
from tests.benchmarks.race.samples import BATCH
from tests.benchmarks.race.work import Epochs, Tensors

__all__ = ["read", "write"]


def read(folder: Path, form: str, workers: int) -> Iterable[Tensors]:
    batches = Batches(folder, form)

    def epoch() -> Iterator[Tensors]:
        order = np.random.default_rng().permutation(len(batches)).tolist()
        positions = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        pipeline = (
            PipelineBuilder()
            .add_source(positions)
            .pipe(batches.__getitem__, concurrency=workers)
            .add_sink(2 * workers)  # batches ahead, as a DataLoader has
            .build(num_threads=workers)
        )
        with pipeline.auto_stop():
            yield from pipeline

    return Epochs(epoch)
