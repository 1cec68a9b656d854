"""How much of the time steps wait for the resident loader."""

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lgcoamix.data import RunBatches, View, make_loader
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import silent
from lgcoamix.settings.sections import DataSettings, Settings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.throughput import Waiting
from tests.gpu.day import Row
from tests.gpu.setup import Setup, store_of
from tests.gpu.sync import waiting_raises, waits

if TYPE_CHECKING:
    from preprocess.store import Store

_WARM_UP, _STEPS, _SAMPLES = 10, 60, 8192


def share_of_waiting(setup: Setup, method: str, backbone: str, side: int, batch: int) -> Row:
    """Train some steps on the carried store, with crops of ``side`` pixels."""
    store, device = open_store(setup), setup.torch_device
    from lgcoamix.data import ResidentDataset, SuperpixelDataset
    from lgcoamix.training.run import make_step

    warm_up, steps = (1, 2) if setup.quick else (_WARM_UP, _STEPS)
    settings = Settings().with_method(method).with_values("data", image_size=side, normalise="none")
    settings = settings.with_values("model", backbone=backbone, weights="none")
    settings = settings.with_values("optim", batch_size=batch, lr=1e-4).with_values("compute", amp="bf16")
    options = RunOptions(Path("unused"), "general", device=setup.device, loader="resident")
    step = make_step(store, settings, options, Ranks(device), silent())
    view, length = View(settings.data, train=True), len(store.splits["train"])
    some = np.arange(0, length, 1 + length // _SAMPLES)  # fills faster, and steps take as long
    dataset = ResidentDataset(SuperpixelDataset(store, "train", view, 0, step.mixer.needs_maps, some), device)
    loader = make_loader(dataset, RunBatches(len(dataset), batch, seed=0), 0)
    batches = (each for _ in itertools.count() for each in loader if len(each) == batch)

    def train(count: int) -> tuple[float, float]:
        progress = Progress(0, 0, Means(), Waiting(device))
        begin = time.perf_counter()
        train_one_epoch(step, itertools.islice(batches, count), _Same(batch), progress, lambda _: None)
        return progress.waiting.seconds(), time.perf_counter() - begin  # the means are read: the device is done

    train(warm_up)
    waited, seconds = train(steps)
    return {
        "what": f"{backbone}, {batch} at {side}",
        "method": method,
        "milliseconds": 1e3 * seconds / steps,
        "images": batch * steps / seconds,
        "waiting": 100 * waited / seconds,
    }


def loader_without_waiting(setup: Setup) -> Row:
    """Crop batches of the resident loader, none of which may make the host wait."""
    store = open_store(setup)
    from lgcoamix.data import ResidentDataset, SuperpixelDataset

    view = View(DataSettings(image_size=48), train=True)
    data = ResidentDataset(SuperpixelDataset(store, "train", view, subset=np.arange(40)), setup.torch_device)
    indices = [(0, position) for position in range(len(data))]
    data.__getitems__(indices)  # warm up
    with waiting_raises(setup.torch_device):
        for _ in range(3):
            data.__getitems__(indices)
    return {"method": "crops of the resident loader", "steps": 3, "waits": waits(setup.torch_device)}


def open_store(setup: Setup) -> "Store":
    """The carried store."""
    path = store_of(setup)
    from preprocess.store import Store

    return Store(path)


class _Same:
    """The order of batches that all have one size."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def weight(self, _: int) -> float:
        """This process has the whole batch."""
        return 1.0

    def size(self, _: int) -> int:
        """B."""
        return self.batch
