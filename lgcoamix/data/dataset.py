"""The streaming data set: image, superpixel map and label of a sample, read together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lgcoamix.data.augment import Augment, as_augment
from lgcoamix.data.handover import PIECES
from lgcoamix.data.windows import DRAWS, View, Windows
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.inputs import whole_number
from lgcoamix.ops.seeding import uniforms
from preprocess.extras import explain
from preprocess.store import Store

Index = int | tuple[int, int]
Placed = tuple[int, np.ndarray]  # place in the batch, and an image or map


@dataclass(frozen=True)
class Draws:
    """All random draws for the samples of a batch."""

    samples: np.ndarray  # (B,) int64: their numbers
    scales: np.ndarray  # (B,) int64: index into ``store.scales`` of the map to read
    uniforms: np.ndarray  # (B, DRAWS) float64 in [0, 1), for the windows
    augment: np.ndarray  # (B,) int64 seeds of the augmentation


class SuperpixelDataset(Dataset[tuple[Any, ...]]):
    """Samples of one split of a store.

    Parameters
    ----------
    store : an open store, or its path.
    split : name of the split.
    view : which windows are shown; None returns the stored image and map.
    seed : seed of the windows and of the choice of scale, for pairs (epoch, position).
    maps : whether to read superpixel maps.
    subset : (n,) array of whole sample numbers to keep; None keeps all.
    augment : changes each crop and its map: ``light``, ``strong``, a file, or an :class:`lgcoamix.Augment`.

    Raises
    ------
    ValueError : an argument of another kind; images of different sizes without a view; crops larger than the images.

    Notes
    -----
    A sample is (image, map, label), or (image, label) without maps. Window, flip, scale and augmentation are random:

    - An index that is a position draws them from torch's generator, as torchvision's transforms do: any DataLoader
      shows new ones in every epoch and in every worker, and ``torch.manual_seed`` repeats them.
    - A pair (epoch, position), from :class:`EpochBatches`, makes them a function of (seed, epoch, sample number): they
      do not depend on workers, and any sample of any epoch can be reproduced.

    Positions count within the subset. The data set may be pickled and forked: each process opens the shards when it
    first reads them.

    Examples
    --------
    >>> from lgcoamix import SuperpixelDataset
    >>> dataset = SuperpixelDataset("data/cub.h5", "train")
    >>> image, ids, label = dataset[0]
    >>> len(dataset), image.shape, ids.shape, label
    (10, torch.Size([3, 16, 16]), torch.Size([16, 16]), 0)
    >>> from torch.utils.data import DataLoader
    >>> images, maps, labels = next(iter(DataLoader(dataset, batch_size=4, shuffle=True)))
    >>> images.shape, maps.shape, labels.shape
    (torch.Size([4, 3, 16, 16]), torch.Size([4, 16, 16]), torch.Size([4]))
    """

    def __init__(
        self,
        store: Store | str | PathLike[str],
        split: str = "train",
        view: View | None = None,
        seed: int = 0,
        maps: bool = True,
        subset: np.ndarray | None = None,
        augment: Augment | str | Path | None = None,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        _check_view(view, self.store)
        if not isinstance(maps, bool):
            raise ValueError(f"maps must be True or False, got {maps!r:.200}")
        self.split, self.view, self.seed, self.with_maps = split, view, whole_number("seed", seed), maps
        self.augment = as_augment(augment) if view is None else as_augment(augment, view.size)
        self.split_labels = torch.from_numpy(self.store.labels(split))
        self.samples = _subset(subset, len(self.split_labels))
        self.labels = self.split_labels[torch.from_numpy(self.samples)]
        self.store.close()  # no file may be open when a DataLoader forks

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Index) -> tuple[Any, ...]:
        """Read one sample: (3, H, W) uint8 image, (H, W) ids unless ``maps`` is False, label."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """Read a batch, shard by shard.

        Parameters
        ----------
        indices : positions, or pairs (epoch, position).

        Returns
        -------
        Batch of (B, 3, H, W) uint8 images in channels-last memory order, (B, H, W) ids and (B,) labels.

        Raises
        ------
        IndexError : no such position.
        """
        draws = self.draw(indices)
        images, ids = self.shown(draws)
        samples, maps = torch.from_numpy(draws.samples), None if ids is None else torch.from_numpy(np.asarray(ids))
        labels = self.split_labels[samples]
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), labels, maps, self.count, samples)

    def prepare(self) -> None:
        """Read a sample, so that workers share what is imported and compiled for it, instead of doing it each.

        Raises
        ------
        Exception : whatever a package raises that is broken, such as OpenCV.
        """
        try:
            self.__getitems__([(0, 0)])
        except Exception as error:
            if isinstance(error, ImportError) or explain(error):
                raise
            return  # whoever asks for that sample is told what is wrong
        finally:
            self.store.close()  # no file may be open when a DataLoader forks

    def draw(self, indices: Sequence[Index]) -> Draws:
        """Draw scales and windows for some samples, without reading them."""
        epochs, positions = split_indices(indices, len(self))
        samples = self.samples[positions]
        weights = np.cumsum([scale.weight for scale in self.store.scales])
        chance = self._uniforms("scale", epochs, samples, 1, self.with_maps)[:, 0] * weights[-1]
        scales = np.minimum(np.searchsorted(weights, chance, side="right"), len(weights) - 1)
        random = self.view is not None and self.view.train
        windows = self._uniforms("window", epochs, samples, DRAWS, random)
        seeds = self._uniforms("augment", epochs, samples, 1, self.augment is not None)[:, 0] * 2.0**53
        return Draws(samples, scales, windows, seeds.astype(np.int64))

    def _uniforms(
        self, name: str, epochs: np.ndarray | None, samples: np.ndarray, count: int, needed: bool
    ) -> np.ndarray:
        """Draw numbers in [0, 1) for each sample: (n, count) float64 array, of the epoch or of torch's generator."""
        if epochs is not None:
            return uniforms(name, self.seed, epochs, samples, count)
        if not needed:  # draws nothing from torch's generator, which others use too
            return np.zeros((len(samples), count))
        return torch.rand(len(samples), count, dtype=torch.float64).numpy()

    @cached_property
    def count(self) -> int:
        """K_half, the static bound on the ids; 0 without maps."""
        return self.store.region_count if self.with_maps else 0

    def shown(self, draws: Draws) -> tuple[np.ndarray, Sequence[np.ndarray] | None]:
        """Read images and maps, crop both to the windows, and augment: (B, H, W, 3) uint8 array, (H, W) ids or None."""
        if self.view is None:
            images = self.store.images(self.split, draws.samples)
            ids = self.read_maps(draws) if self.with_maps else None
        else:
            windows = self.view.windows(self.store.sizes(self.split, draws.samples), draws.uniforms)
            maps = self.each_map(draws) if self.with_maps else None
            images, ids = self.show(self.store.each_image(self.split, draws.samples), maps, windows)
        return self.augmented(images, ids, draws)

    def augmented(
        self, images: np.ndarray, ids: Sequence[np.ndarray] | None, draws: Draws
    ) -> tuple[np.ndarray, Sequence[np.ndarray] | None]:
        """Augment crops and their maps, if the data set does."""
        if self.augment is None:
            return images, ids
        return self.augment.batch(images, ids, self.store.sentinel, draws.augment)

    def read_maps(self, draws: Draws) -> list[np.ndarray]:
        """Read the map of each sample at its scale: (H, W) ids."""
        found = {place: ids.copy() for place, ids in self.each_map(draws)}
        return [found[place] for place in range(len(draws.samples))]

    def each_map(self, draws: Draws) -> Iterator[Placed]:
        """Read the maps one by one, scale by scale: place in the batch, and (H, W) ids, read-only."""
        dtype = self.store.map_dtype
        for scale in np.unique(draws.scales).tolist():
            places = np.flatnonzero(draws.scales == scale)
            maps = self.store.each_map(self.split, self.store.scales[scale].segments, draws.samples[places])
            yield from ((int(places[number]), ids.astype(dtype, copy=False)) for number, ids in maps)

    def show(
        self, images: Iterable[Placed], ids: Iterable[Placed] | None, windows: Windows
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Crop stored images and maps to the windows, each as it comes, with its place in the batch.

        Returns
        -------
        (B, H, W, 3) uint8 array, and (B, H, W) ids or None.
        """
        # Imported here: the resident loader works without OpenCV.
        from lgcoamix.data.transforms import show_map, show_window

        size, chosen = self.view.size, list(windows)
        forms = [((len(chosen), size, size, 3), np.dtype(np.uint8))]
        if ids is not None:
            forms.append(((len(chosen), size, size), self.store.map_dtype))
        shown, *maps = PIECES.arrays(*forms)
        for place, image in images:
            show_window(image, chosen[place], size, shown[place])
        if ids is None:
            return shown, None
        sentinel = self.store.sentinel
        for place, own in ids:
            show_map(own, chosen[place], size, sentinel, maps[0][place])
        return shown, maps[0]


def _check_view(view: object, store: Store) -> None:
    """Require a view whose windows lie in the images of a store; or none, if they are all of one size."""
    if not isinstance(view, View | None):
        raise ValueError(
            f"view must be a View, such as View(DataSettings(image_size=64), train=True), got {view!r:.200}"
        )
    if view is None and not store.uniform:
        raise ValueError(f"the images of {store.path} have different sizes; pass a view, which crops them to one")
    if view is None or view.resizes:
        return
    remedy = "crop='resized'" if view.train else "test='resize'"
    if store.size is None:
        raise ValueError(
            f"the images of {store.path} have various sizes, and a window without resizing may not lie in them; take "
            f"DataSettings({remedy})"
        )
    if view.size > store.size + 2 * view.border:
        raise ValueError(
            f"image_size {view.size} is larger than the {store.size} pixels of the images of {store.path}; "
            f"take a smaller one, DataSettings({remedy}), or a store of larger images"
        )


def _subset(subset: np.ndarray | None, length: int) -> np.ndarray:
    """Check sample numbers to keep: (n,) int64 array, of all samples for None."""
    if subset is None:
        return np.arange(length)
    numbers = np.asarray(subset)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        hint = "; pass numpy.flatnonzero(mask)" if numbers.dtype == bool else ""
        raise ValueError(f"subset must be (n,) sample numbers, got {numbers.shape} {numbers.dtype}{hint}")
    for number in numbers[(numbers < 0) | (numbers >= length)].tolist():
        raise ValueError(f"subset must hold sample numbers from 0 to {length - 1}, got {number}")
    return numbers.astype(np.int64)


def split_indices(indices: Sequence[Index], length: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Split indices into epochs, None if they are plain positions, and positions: (n,) int64 arrays.

    Raises
    ------
    IndexError : neither positions nor pairs, or a position is not within ``length`` samples.
    """
    try:
        numbers = np.array([np.asarray(index) for index in indices])
    except ValueError:  # of different shapes
        numbers = np.array([None])
    if numbers.dtype.kind not in "iu" or numbers.shape[1:] not in ((), (2,)):
        hint = "; pass an EpochBatches as batch_sampler=" if numbers.ndim == 3 else ""
        hint = hint if len(numbers) else "; a batch holds at least one"
        raise IndexError(
            f"expected positions, or pairs (epoch, position) as from EpochBatches, got {indices!r:.200}{hint}"
        )
    numbers = numbers.astype(np.int64)
    epochs, positions = (None, numbers) if numbers.ndim == 1 else (numbers[:, 0], numbers[:, 1])
    for position in positions[(positions < -length) | (positions >= length)].tolist():
        raise IndexError(f"index {position} is out of range for {length} samples")
    return epochs, positions % length
