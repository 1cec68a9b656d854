"""The resident data set: images and maps stay in the device's memory and are cropped there, on a GPU in batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from lgcoamix.data.dataset import Draws, Index, SuperpixelDataset, split_indices
from lgcoamix.data.live import LiveDataset
from lgcoamix.data.resample import resample_images, resample_maps
from lgcoamix.data.windows import Windows
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device

_CHUNK = 256  # samples that are read at a time


class ResidentDataset(Dataset):
    """A streaming data set in a device's memory: the same samples, windows and pixels, bit for bit.

    Parameters
    ----------
    source : the data set to load; all images of its store must have one size.
    device : the device that holds it.

    Raises
    ------
    RunError : the images have different sizes.
    SettingsError : the maps are live, or images are augmented.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import ResidentDataset, SuperpixelDataset
    >>> source = SuperpixelDataset("data/cub.h5", "train")
    >>> batch = ResidentDataset(source, torch.device("cpu")).__getitems__([0, 1, 2])
    >>> batch.images.shape, batch.labels
    (torch.Size([3, 3, 16, 16]), tensor([0, 0, 0]))
    """

    def __init__(self, source: SuperpixelDataset, device: torch.device | str) -> None:
        store, device = source.store, torch.device(device)
        if isinstance(source, LiveDataset):
            raise SettingsError("DataLoader workers compute live maps; use --loader streaming or auto")
        if source.augment is not None:
            raise SettingsError("--augment runs in the DataLoader workers; use --loader streaming or auto")
        if not store.uniform:
            raise RunError(f"the images of {store.path} have different sizes; use --loader streaming")
        self.source, self.device = source, device
        size, scales = store.size, store.scales if source.with_maps else ()
        dtype = torch.from_numpy(np.zeros(0, store.map_dtype)).dtype
        self._images = torch.empty(len(source), size, size, 3, dtype=torch.uint8, device=device)
        self._maps = torch.empty(len(scales), len(source), size, size, dtype=dtype, device=device)
        self._labels = source.split_labels.to(device)
        for start in range(0, len(source), _CHUNK):
            rows = slice(start, start + _CHUNK)
            samples = source.samples[rows]
            self._images[rows] = torch.from_numpy(store.images(source.split, samples)).to(device)
            for number, scale in enumerate(scales):
                maps = store.maps(source.split, scale.segments, samples).astype(store.map_dtype, copy=False)
                self._maps[number, rows] = torch.from_numpy(maps).to(device)
        store.close()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Index) -> tuple:
        """Assemble one sample; see :class:`SuperpixelDataset`."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """Assemble a batch on the device; see :meth:`SuperpixelDataset.__getitems__`."""
        source = self.source
        draws = source.draw(indices)
        positions = split_indices(indices, len(source))[1]
        samples = to_device(torch.from_numpy(draws.samples), self.device)
        shown = self._shown_here if self._crops_here() else self._shown_there
        images, maps = shown(draws, positions)
        return Batch(images, self._labels[samples], maps, source.count, samples)

    def _crops_here(self) -> bool:
        """Whether OpenCV crops: on a CPU it takes a quarter to an eighth of the time of torch."""
        from lgcoamix.data.transforms import cv2

        return self.device.type == "cpu" and self.source.view is not None and cv2 is not None

    def _shown_here(self, draws: Draws, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Crop one by one, as the streaming data set does."""
        stored, maps = self._images.numpy(), None
        if self.source.with_maps:
            maps = enumerate(self._maps.numpy()[place] for place in zip(draws.scales, positions, strict=True))
        windows = self._windows(draws)
        images, maps = self.source.show(enumerate(stored[place] for place in positions), maps, windows)
        return torch.from_numpy(images).permute(0, 3, 1, 2), None if maps is None else torch.from_numpy(maps)

    def _shown_there(self, draws: Draws, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Crop the whole batch on the device."""
        rows = to_device(torch.from_numpy(positions), self.device)
        images, maps = self._images[rows].permute(0, 3, 1, 2), None
        if self.source.with_maps:
            maps = _pick(self._maps, to_device(torch.from_numpy(draws.scales), self.device), rows)
        if self.source.view is not None:
            windows, size = self._windows(draws), self.source.view.size
            images = resample_images(images, windows, size)
            if maps is not None:
                maps = resample_maps(maps, windows, size, self.source.store.sentinel)
        return images, maps

    def _windows(self, draws: Draws) -> Windows:
        return self.source.view.windows([self._images.shape[1:3]] * len(draws.samples), draws.uniforms)


def resident_bytes(source: SuperpixelDataset) -> int:
    """Compute the memory that a :class:`ResidentDataset` needs, in bytes, without reading images."""
    store = source.store
    maps = len(store.scales) * np.dtype(store.map_dtype).itemsize if source.with_maps else 0
    return len(source) * store.size**2 * (3 + maps)


def _pick(maps: torch.Tensor, scales: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Gather maps[scales, rows]; as int16, because few devices support uint16."""
    if maps.dtype == torch.uint16:
        return maps.view(torch.int16)[scales, rows].view(torch.uint16)
    return maps[scales, rows]
