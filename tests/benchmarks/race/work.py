"""The work that all peers do alike: decode, crop image and map to one random window, mirror both, and collate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, get_worker_info

from tests.benchmarks.race.samples import BATCH, SHOWN, SIZE, decode_ids, decode_image

Tensors = tuple[Tensor, Tensor, Tensor]


class Crops:
    """A batch into which crops are written: no crop is allocated alone, and none is copied when they are collated.

    Parameters
    ----------
    count : B.
    """

    def __init__(self, count: int) -> None:
        self.images, self.maps = _buffer(count, SHOWN, SHOWN, 3), _buffer(count, SHOWN, SHOWN)
        self._rows = self.images.numpy(), self.maps.numpy()
        random = np.random.default_rng()
        corners = random.integers(0, SIZE - SHOWN + 1, (count, 2)).tolist()
        self._windows = list(zip(corners, (random.random(count) < 0.5).tolist(), strict=True))

    def put(self, row: int, image: np.ndarray, ids: np.ndarray) -> None:
        """Crop a (SIZE, SIZE, 3) image and its (SIZE, SIZE) map."""
        (top, left), flip = self._windows[row]
        for values, rows in zip((image, ids), self._rows, strict=True):
            window = values[top : top + SHOWN, left : left + SHOWN]
            if flip:
                cv2.flip(window, 1, dst=rows[row])
            else:
                rows[row] = window

    def tensors(self, labels: Sequence[int] | np.ndarray) -> Tensors:
        """(B, 3, SHOWN, SHOWN) images, channels last as ours; (B, SHOWN, SHOWN) maps; (B,) labels."""
        return self.images.permute(0, 3, 1, 2), self.maps, torch.as_tensor(labels)


def _buffer(*shape: int) -> Tensor:
    """Make an uint8 tensor; in a worker where torch's own collation makes it: in memory that is shared, not copied."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape)


@dataclass(frozen=True)
class Collate:
    """Makes a batch of samples, each the bytes of an image, those of its map, and a label."""

    form: str

    def __call__(self, samples: Sequence[tuple[bytes, bytes, int | bytes]]) -> Tensors:
        crops = Crops(len(samples))
        for row, (image, ids, _) in enumerate(samples):
            crops.put(row, decode_image(self.form, image), decode_ids(self.form, ids))
        return crops.tensors([int(label) for *_, label in samples])


@dataclass(frozen=True)
class Epochs:
    """Can be iterated again and again, as a DataLoader: ``start`` begins an epoch."""

    start: Callable[[], Iterator[Tensors]]

    def __iter__(self) -> Iterator[Tensors]:
        return self.start()


def load(dataset: Dataset, workers: int, collate: Callable | None = None) -> Iterable[Tensors]:
    """Load a data set in random order. Without ``collate``, it makes a batch itself, of a list of positions."""
    if collate is not None:
        options = {"batch_size": BATCH, "shuffle": True, "collate_fn": collate}
    else:
        batches = BatchSampler(RandomSampler(dataset), BATCH, drop_last=False)
        options = {"batch_size": None, "sampler": batches, "collate_fn": unchanged}
    return DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, **options)


def unchanged(batch: Tensors) -> Tensors:
    return batch
