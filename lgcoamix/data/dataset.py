"""The streaming data set: image, superpixel map and label of a sample, read together."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import Dataset

from lgcoamix.data.transforms import JointTransform
from lgcoamix.mixing import Batch
from lgcoamix.seeding import derive_seed
from preprocess.store import Store

Index = int | tuple[int, int]


class SuperpixelDataset(Dataset):
    """Samples of one split of a store.

    Parameters
    ----------
    store : an open store, or its path.
    split : name of the split.
    transform : joint transform; None gives the stored image and map.
    seed : seed of augmentation and of the drawn scale.
    maps : read superpixel maps.
    subset : (n,) int64 array of sample numbers to keep; None keeps all.

    Notes
    -----
    An index is a place in the subset, or a pair (epoch, place): augmentation and scale are functions of (seed, epoch,
    sample number), so they do not depend on workers, and any sample of any epoch can be had again. The data set may be
    pickled and forked: the store opens its shards once per process, when they are read.
    """

    def __init__(
        self,
        store: Store | str,
        split: str = "train",
        transform: JointTransform | None = None,
        seed: int = 0,
        maps: bool = True,
        subset: np.ndarray | None = None,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        if transform is None and not self.store.uniform:
            raise ValueError(f"images of {self.store.path} have sizes of their own: give a transform to one size")
        self.split = split
        self.transform = transform
        self.seed = seed
        self.with_maps = maps
        self.labels = torch.from_numpy(self.store.labels(split))
        self.samples = np.arange(len(self.labels)) if subset is None else np.asarray(subset)
        self.store.close()  # nothing may be open when a loader forks

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Index) -> tuple[torch.Tensor, torch.Tensor | None, int]:
        """One sample: (3, H, W) uint8 image, (H, W) ids or None, label."""
        if not isinstance(index, tuple) and not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        batch = self.__getitems__([index])
        return batch.images[0], None if batch.maps is None else batch.maps[0], int(batch.labels[0])

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """A whole batch, read shard by shard.

        Parameters
        ----------
        indices : places, or pairs (epoch, place).

        Returns
        -------
        Batch of (B, 3, H, W) uint8 images in channels-last memory order, (B, H, W) ids and (B,) labels.
        """
        pairs = [index if isinstance(index, tuple) else (0, index) for index in indices]
        numbers = self.samples[[place for _, place in pairs]]
        images = self.store.images(self.split, numbers)
        seeds = [
            derive_seed("sample", self.seed, epoch, number) for (epoch, _), number in zip(pairs, numbers, strict=True)
        ]
        ids = self._draw_maps(numbers, seeds) if self.with_maps else None
        if self.transform is not None:
            places = range(len(numbers))
            done = [self.transform(images[i], None if ids is None else ids[i], seeds[i]) for i in places]
            images = np.stack([image for image, _ in done])
            ids = None if ids is None else [map_ids for _, map_ids in done]
        samples = torch.from_numpy(numbers)
        return Batch(
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            labels=self.labels[samples],
            maps=None if ids is None else torch.from_numpy(np.stack(ids)),
            count=self._count,
            samples=samples,
        )

    @cached_property
    def _count(self) -> int:
        return self.store.region_count if self.with_maps else 0

    def _draw_maps(self, numbers: np.ndarray, seeds: list[int]) -> list[np.ndarray]:
        """Read for each sample the map of one scale, drawn by the store's weights: (H, W) ids."""
        scales = self.store.scales
        weights = np.cumsum([scale.weight for scale in scales])
        # A stream of its own: the transform draws from the same seed.
        draws = [np.random.default_rng([seed, 1]).random() * weights[-1] for seed in seeds]
        chosen = np.minimum(np.searchsorted(weights, draws, side="right"), len(scales) - 1)
        dtype, out = self.store.map_dtype, {}
        for place in np.unique(chosen):
            rows = np.flatnonzero(chosen == place)
            maps = self.store.maps(self.split, scales[place].segments, numbers[rows])
            out.update((row, ids.astype(dtype, copy=False)) for row, ids in zip(rows.tolist(), maps, strict=True))
        return [out[row] for row in range(len(numbers))]
