"""One run of a peer in a process of its own: ``write PEER FORM HOME WORKERS``, or ``read`` with the same words."""

import json
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from tests.benchmarks.race.samples import Samples
from tests.benchmarks.race.work import Tensors

_EPOCHS = 6
_CHECKED = 32  # samples of the first batch


def main(what: str, peer: str, form: str, home: str, workers: str) -> None:
    """Write files, or read them and print figures as JSON on the last line."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # a worker is one core
    module, folder = import_module(f"tests.benchmarks.race.peers.{peer}"), Path(home, form, peer)
    if what == "write":
        folder.mkdir(parents=True)
        module.write(folder, Samples(Path(home), form))
        return
    begin = time.perf_counter()
    loader = module.read(folder, form, int(workers))
    first = _warm_up(loader, begin, Path(home))
    sys.stdout.write(json.dumps({"first": first, **_measure(loader)}))


def _warm_up(loader: Iterable[Tensors], begin: float, home: Path) -> float:
    """Seconds to the first batch, which is kept for the check with the labels of its epoch."""
    labels, first = [], None
    for batch in loader:
        if first is None:
            first = time.perf_counter() - begin
            images, maps = (values[:_CHECKED].numpy().copy() for values in batch[:2])
        labels.append(batch[2].numpy().copy())
    np.savez(home / "shown.npz", images=images, maps=maps, labels=np.concatenate(labels))
    return first


def _measure(loader: Iterable[Tensors]) -> dict[str, float]:
    """Images a second, elapsed and of all processors, and the most memory in one more epoch."""
    count, start, busy = 0, time.perf_counter(), _processor_seconds()
    for _ in range(_EPOCHS):
        count += sum(len(labels) for *_, labels in loader)
    elapsed, busy = time.perf_counter() - start, _processor_seconds() - busy
    memory = max(_memory() for number, _ in enumerate(loader) if number % 4 == 0)
    return {"wall": count / elapsed, "cpu": count / busy, "memory": memory}


def _tree() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _processor_seconds() -> float:
    """Of this process and its children, living and dead."""
    return sum(sum(process.cpu_times()[:4]) for process in _tree())


def _memory() -> float:
    """Bytes of the processes together, shared ones once, without pages of files, which the kernel can drop."""
    total = 0
    for process in _tree():
        words = Path(f"/proc/{process.pid}/smaps_rollup").read_text().split()
        total += sum(int(size) for name, size in pairwise(words) if name in ("Pss_Anon:", "Pss_Shmem:"))
    return 1024 * total


if __name__ == "__main__":
    main(*sys.argv[1:])
