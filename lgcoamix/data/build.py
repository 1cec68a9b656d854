"""Build the loaders of a run: for training, and for every split that is evaluated after an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from lgcoamix.data import LiveDataset, ResidentDataset, RunBatches, SuperpixelDataset, View, hold_out, make_loader
from lgcoamix.data.loader import end_workers
from lgcoamix.data.pictures import pictures
from lgcoamix.data.resident import resident_bytes
from lgcoamix.errors import RunError
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.distributed import Ranks
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from preprocess.store import Store
from preprocess.text import listed

_NAMED = 5  # classes in a line
SHOWN = 6  # images of a batch in a picture
ROOM = 0.5  # share of a GPU's free memory that images and maps may use; the network needs the rest


@dataclass(frozen=True)
class Loaders:
    """The loaders of a run."""

    train: DataLoader  # this rank's training batches, in the order of ``batches``
    batches: RunBatches
    tests: dict[str, DataLoader]  # evaluated after an epoch; validation first, if samples are held out for it
    notices: tuple[str, ...]  # lines for the user: device and kind, what the run does not see

    def close(self) -> None:
        """End all DataLoader workers."""
        for loader in (self.train, *self.tests.values()):
            end_workers(loader)

    def first_batches(self, epoch: int, count: int) -> Iterator[Batch]:
        """Read this rank's first batches of an epoch in this process, until they hold at least ``count`` images."""
        seen = 0
        for indices in self.batches.at(epoch):
            yield self.train.dataset.__getitems__(indices)
            seen += len(indices)
            if seen >= count:
                return

    def first_pictures(self, epoch: int) -> tuple[Batch, np.ndarray]:
        """Read the first batch, and show its first images to people: (B, H, W, 3) uint8 array."""
        indices = next(iter(self.batches.at(epoch)))[:SHOWN]
        return self.train.dataset.__getitems__(indices), pictures(self.train.dataset, indices)


def make_loaders(store: Store, settings: Settings, options: RunOptions, maps: bool, ranks: Ranks) -> Loaders:
    """Build the loaders of a run.

    Parameters
    ----------
    maps : whether the method needs superpixel maps.

    Raises
    ------
    RunError : no samples for training or validation; resident images of different sizes.
    SettingsError : resident live maps, or resident images that are augmented; an augmentation that cannot be used.
    """
    train = _training_set(store, settings, options, maps)
    tests, unseen = {}, []
    if options.val_fraction:
        kept, held = hold_out(train.labels.numpy(), options.val_fraction)
        if not len(held) or not len(kept):
            raise RunError(
                f"--val-fraction {options.val_fraction:g} leaves no samples for training or validation; choose another"
            )
        unseen = list(_emptied(train.labels.numpy(), kept, held, store.classes, options.val_fraction))
        train = _training_set(store, settings, options, maps, kept)
        tests["val"] = _test_set(store, "train", settings, held)
    if store.test_split:
        tests["test"] = _test_set(store, store.test_split, settings)
    size = settings.optim.batch_size
    batches = RunBatches(len(train), size, options.seed, ranks.rank, ranks.world)
    if len(batches) == 0:
        raise RunError(f"the split 'train' of {store.path} has {len(train)} sample; a batch needs at least 2")
    if batches.dropped:
        unseen.append(
            "every epoch leaves out one training image, each time another: it would be alone in the last batch"
        )
    sets: dict[str, SuperpixelDataset | ResidentDataset] = {"train": train, **tests}
    resident, notice = _choose(options.loader, list(sets.values()), ranks.device)
    if resident:
        sets = {name: ResidentDataset(source, ranks.device) for name, source in sets.items()}
    workers, pin = (0, False) if resident else (options.workers, ranks.device.type == "cuda")
    loaders = {}
    for name, data in sets.items():
        order = batches if name == "train" else RunBatches(len(data), size, None, ranks.rank, ranks.world)
        loaders[name] = make_loader(data, order, workers, pin)
    if ranks.world > 1:
        notice = f"{ranks.world} x {ranks.device.type}, {'resident' if resident else 'streaming'} loader"
    return Loaders(loaders.pop("train"), batches, loaders, (notice, *unseen))


def _emptied(
    labels: np.ndarray, kept: np.ndarray, held: np.ndarray, classes: tuple[str, ...], share: float
) -> Iterator[str]:
    """Say which classes a validation share takes whole, and which it leaves out."""
    for chosen, what in ((kept, "to train on"), (held, "for validation")):
        without = np.setdiff1d(labels, labels[chosen])
        if len(without):
            named = listed([classes[label] for label in without.tolist()], _NAMED)
            yield f"--val-fraction {share:g} leaves no image {what} of {len(without)} classes: {named}"


def _training_set(
    store: Store, settings: Settings, options: RunOptions, maps: bool, subset: np.ndarray | None = None
) -> SuperpixelDataset:
    view = View(settings.data, train=True)
    if maps and options.maps == "live":
        return LiveDataset(store, "train", view, options.seed, subset, options.augment)
    return SuperpixelDataset(store, "train", view, options.seed, maps, subset, options.augment)


def _test_set(store: Store, split: str, settings: Settings, subset: object = None) -> SuperpixelDataset:
    return SuperpixelDataset(store, split, View(settings.data, train=False), maps=False, subset=subset)


def _choose(wanted: str, sources: list[SuperpixelDataset], device: torch.device) -> tuple[bool, str]:
    """Decide whether the data is resident; the line tells the user."""
    uniform = sources[0].store.uniform
    if wanted != "resident" and any(isinstance(source, LiveDataset) for source in sources):
        return False, f"{device.type}, streaming loader, live maps"
    if wanted != "resident" and any(source.augment for source in sources):
        return False, f"{device.type}, streaming loader, which augments"
    if wanted == "streaming" or (wanted == "auto" and (device.type != "cuda" or not uniform)):
        return False, f"{device.type}, streaming loader"
    if not uniform:
        raise RunError(f"the images of {sources[0].store.path} have different sizes; use --loader streaming")
    needed = sum(map(resident_bytes, sources))
    line = f"{device.type}, resident loader: images and maps use {needed / 1e9:.2f} GB of its memory"
    if wanted == "resident" or needed <= ROOM * torch.cuda.mem_get_info(device)[0]:
        return True, line
    return False, f"{device.type}, streaming loader: {needed / 1e9:.1f} GB would exceed half of the free memory"
