"""What is evaluated: a trained network and the split that it classifies."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lgcoamix.data import RunBatches, SuperpixelDataset, View, make_loader, on_device
from lgcoamix.data.loader import end_workers, worker_failures
from lgcoamix.errors import RunError
from lgcoamix.evaluation.flipped import classify
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.normalise import Statistics, to_inputs
from lgcoamix.runs.checks import refuse_incomplete
from lgcoamix.runs.load import Trained
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.report import Start
from preprocess.store import Store


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, and the images that it is tested on.

    Parameters
    ----------
    store : open, with the classes of the checkpoint; see :func:`check_store`.
    options : split, loading, attacks.
    trained : content of the checkpoint.
    model : its network, on ``device``.
    """

    store: Store
    options: EvaluationOptions
    trained: Trained
    model: nn.Module
    device: torch.device

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and standard deviation of the inputs."""
        return statistics_of(self.trained.settings, self.device)

    def dataset(self, subset: np.ndarray | None = None) -> SuperpixelDataset:
        """Return the samples of the split, or a subset of them, by the test protocol of the training."""
        view = View(self.trained.settings.data, train=False)
        return SuperpixelDataset(self.store, self.options.split, view, maps=False, subset=subset)

    def batches(self, dataset: Dataset, what: str, start: Start) -> Iterator[tuple[Tensor, Tensor]]:
        """Read a data set once, in its order: (B, 3, H, W) normalised inputs and (B,) labels, on the device."""
        size = self.options.batch_size or self.trained.settings.optim.batch_size
        order, pinned = RunBatches(len(dataset), size, None), self.device.type == "cuda"
        loader, advance = make_loader(dataset, order, self.options.workers, pinned), start(what, len(dataset))
        try:
            with worker_failures():
                for batch in on_device(loader, self.device):
                    yield to_inputs(batch.images, *self.statistics), batch.labels
                    advance(len(batch.labels))
        finally:
            end_workers(loader)

    def classify(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute (B, N) logits, and those without the mid-level branch if there is one; with the options' ``tta``."""
        return classify(self.model, inputs, self.options.tta == "flip")


def title_of(store: Store, split: str, trained: Trained, tta: str = "none") -> str:
    """Two lines that say what is shown: the checkpoint, the store, the split, and test-time augmentation."""
    path = trained.path.resolve()
    aside = "" if tta == "none" else f", --tta {tta}"
    return f"{path.parent.name}/{path.name}, {trained.when}\non {store.name}, split {split}{aside}"


def check_store(store: Store, split: str, trained: Trained) -> None:
    """Check that a checkpoint can classify the images of a split.

    Raises
    ------
    RunError : the classes differ, the split is empty, the store is incomplete, or its images are smaller than the
        centre that the test crops.
    """
    _check_classes(store, trained)
    if split not in store.splits or not len(store.splits[split]):
        filled = ", ".join(name for name, split in store.splits.items() if len(split))
        raise RunError(f"{store.path} has no images in split {split!r}; choose one of: {filled}")
    refuse_incomplete(store)
    data = trained.settings.data
    if data.test == "center" and (store.size is None or data.image_size > store.size):
        stored = "images of various sizes" if store.size is None else f"images of {store.size} pixels"
        raise RunError(
            f"{trained.path} tests on a centre crop of {data.image_size} pixels (data.test=center), but {store.path} "
            f"contains {stored}; build a store with a larger --size"
        )


def _check_classes(store: Store, trained: Trained) -> None:
    if store.classes == trained.classes:
        return
    pairs = enumerate(zip_longest(trained.classes, store.classes))
    number, (ours, theirs) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    ours, theirs = ("missing" if name is None else repr(name) for name in (ours, theirs))
    remedy = f"use the store of the training: {trained.config.get('store', {}).get('path', 'see config.json')}"
    if "source" in trained.config:
        remedy = f"if its classes are those of the store, in this order, convert it again with --shards {store.path}"
    raise RunError(
        f"{trained.path} has {len(trained.classes)} classes, {store.path} has {len(store.classes)}; they first differ "
        f"at class {number}: {ours} in the checkpoint, {theirs} in the store; {remedy}"
    )
