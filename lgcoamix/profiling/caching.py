"""What stored maps save: a mixed training step with them, beside the same step that segments its images first."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from lgcoamix.data import LiveDataset, RunBatches, SuperpixelDataset, View
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.profiling.measure import still_step, timed
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.throughput import Waiting
from preprocess.extras import required
from preprocess.store import Store

ROUNDS = 6


class ReleasedLoop(LiveDataset):
    """Segments as the released loop does: by scikit-image, and twice, as every image of a mixed batch is in two pairs.

    In one pair it receives, in the other it is pasted, each time with a number of segments of its own. Our mixers take
    one map per image: that of the second pair costs its time and is dropped.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._random = np.random.default_rng(0)
        super().__init__(*arguments, **options)

    def _segment(self, image: np.ndarray, size: tuple[int, int], window: Any, segments: int) -> np.ndarray:
        counts, weights = zip(*((scale.segments, scale.weight) for scale in self.store.scales), strict=True)
        other = self._random.choice(counts, p=np.array(weights) / sum(weights))
        super()._segment(image, size, window, int(other))
        return super()._segment(image, size, window, segments)

    def _cut(self, image: np.ndarray, segments: int) -> np.ndarray:
        with required("the comparison with scikit-image", "preprocess"):
            from skimage import segmentation
        return segmentation.slic(image, segments, self.store.superpixels.compactness, start_label=0)


# Called with (store, split, view).
SOURCES: dict[str, Callable[[Store, str, View], SuperpixelDataset]] = {
    "stored": SuperpixelDataset,
    "live": LiveDataset,
    "released": ReleasedLoop,
}


@dataclass(frozen=True)
class Pace:
    """Medians over the batches, in milliseconds per image.

    Parameters
    ----------
    load : reading and cropping images, and reading and cropping their maps or segmenting the crops, on one core.
    step : the training step that follows.
    """

    load: float
    step: float

    @property
    def images_per_second(self) -> float:
        """Speed of training that loads and steps in turn."""
        return 1000 / (self.load + self.step)

    @property
    def loaded_per_second(self) -> float:
        """Speed of loading alone, which training with one loading core cannot exceed however short its step is."""
        return 1000 / self.load


def measure_caching(store: Store, settings: Settings, options: RunOptions) -> dict[str, Pace]:
    """Time mixed training steps on the CPU, and loading their batches from every source of maps.

    Parameters
    ----------
    store : with maps of SLIC.
    settings, options : of a run whose method needs maps; here it mixes every batch.

    Returns
    -------
    By the keys of ``SOURCES``. The step is the same for all: it takes the stored maps.

    Notes
    -----
    Writes nothing. In every round each source loads the same images in its turn, in this process.
    """
    settings = replace(settings, mixer=replace(settings.mixer, mix_prob=1.0))
    step = still_step(store, settings, options, Ranks(torch.device("cpu")))
    view = View(settings.data, train=True)
    sources = {name: make(store, "train", view) for name, make in SOURCES.items()}
    order = RunBatches(len(store.splits["train"]), settings.optim.batch_size, options.seed)
    rows: list[dict[str, float]] = []  # milliseconds per image
    for indices in islice(order, 1 + ROUNDS):
        seconds, batches = {}, {}
        for name, dataset in sources.items():
            batches[name], seconds[name] = timed(dataset.__getitems__, indices)
        progress = Progress(0, len(rows), Means(), Waiting(step.device))
        _, seconds["step"] = timed(train_one_epoch, step, [batches["stored"]], order, progress, lambda _: None)
        rows.append({name: 1000 * value / len(indices) for name, value in seconds.items()})
    store.close()
    medians = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}  # the first compiles
    return {name: Pace(medians[name], medians["step"]) for name in sources}
