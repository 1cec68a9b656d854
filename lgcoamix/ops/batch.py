"""A batch for a mixer, from a loader or from a user's own training loop."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Self

import torch
from torch import Tensor

from lgcoamix.ops.device import to_device
from lgcoamix.ops.inputs import check_images, check_labels, check_maps
from lgcoamix.ops.losses import full_precision

Statistics = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """A batch from a data set: a sequence of samples, for torch's default collation, whose tensors lie together.

    A sample is (image, map, label), or (image, label) in a batch without maps.

    Parameters
    ----------
    images : (B, 3, H, W) tensor; uint8 from the loader, floating after normalisation. Mixers accept both.
    labels : (B,) int64 tensor; or soft labels, (B, N) floating, in a user's own loop.
    maps : (B, H, W) integer tensor of superpixel ids, or None. An id outside [0, count) is a sentinel: no superpixel.
    count : K_half, static bound on the ids.
    samples : (B,) int64 tensor of sample numbers within the split, or None.
    statistics : mean and standard deviation of the network's inputs, (1, 3, 1, 1) tensors, with which floating images
        are normalised. None: the network takes images in [0, 1].

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import Batch
    >>> batch = Batch(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4))
    >>> batch.inputs().dtype, batch.part(0, 2).labels
    (torch.float32, tensor([0, 1]))
    >>> image, label = batch[2]
    >>> image.shape, label
    (torch.Size([3, 8, 8]), 2)
    """

    images: Tensor
    labels: Tensor
    maps: Tensor | None = None
    count: int = 0
    samples: Tensor | None = None
    statistics: Statistics | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        tensors = (self.images,) if self.maps is None else (self.images, self.maps)
        return *(tensor[index] for tensor in tensors), self.labels[index].tolist()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self[index] for index in range(len(self)))

    def inputs(self) -> Tensor:
        """Return the images as the network takes them: floating and normalised."""
        if self.images.is_floating_point():
            return self.images
        mean, std = self._statistics()
        return (self.images.float() / 255 - mean) / std

    def pictures(self) -> Tensor:
        """Return the images as floating values in [0, 1], for a network with another normalisation."""
        if not self.images.is_floating_point():
            return self.images.float() / 255
        mean, std = self._statistics()
        return self.images * std + mean

    def zero(self) -> Tensor:
        """Return the pixel that becomes 0 in the network, in the dtype of the images: the mean if they are uint8."""
        if self.images.is_floating_point():
            return self.images.new_zeros(())
        return (self._statistics()[0] * 255).round().to(self.images.dtype)

    def _statistics(self) -> Statistics:
        mean, std = self.statistics or (torch.zeros(()), torch.ones(()))
        return to_device(mean, self.images.device), to_device(std, self.images.device)

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """Move every tensor to a device."""
        return replace(self, **{name: t.to(device, non_blocking=non_blocking) for name, t in self._tensors()})

    def pin_memory(self) -> Self:
        """Pin every tensor, so that transfers overlap with computation; called by torch's DataLoader."""
        return replace(self, **{name: t.pin_memory() for name, t in self._tensors()})

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of every tensor until ``stream`` has used it."""
        for _, tensor in self._tensors():
            tensor.record_stream(stream)

    def part(self, begin: int, end: int) -> Self:
        """Select samples ``begin`` to ``end``, exclusive."""
        return replace(self, **{name: tensor[begin:end] for name, tensor in self._tensors()})

    def _tensors(self) -> list[tuple[str, Tensor]]:
        pairs = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in pairs if isinstance(value, Tensor)]


def make_batch(
    images: Tensor,
    labels: Tensor,
    maps: Tensor | None = None,
    count: int | None = None,
    statistics: tuple | None = None,
) -> Batch:
    """Check tensors from a training loop and build a batch.

    Parameters
    ----------
    images : (B, C, H, W) floating or uint8 tensor.
    labels : (B,) integer tensor; or soft labels, (B, N) floating: a distribution over classes per image.
    maps : (B, H, W) integer tensor, or None.
    count : K_half. None uses the largest id in ``maps`` plus one; the highest value of an unsigned type (255, 65535)
        then counts as the sentinel.
    statistics : as in :class:`Batch`; plain numbers, one per channel, work as well.

    Raises
    ------
    ValueError : no tensors, or shapes, dtypes or devices do not match.
    """
    check_images(images)
    check_labels(labels, images)
    if maps is not None:
        check_maps(maps, images)
    if statistics is not None:
        statistics = tuple(to_device(values, images.device) for values in _mean_and_std(statistics, images.shape[1]))
    if maps is None:
        count = 0
    elif count is None:
        ids = maps.long()  # torch has no max of uint16
        if maps.dtype in (torch.uint8, torch.uint16, torch.uint32):
            ids = ids.where(ids < torch.iinfo(maps.dtype).max, -1)
        count = max(1, int(ids.max()) + 1)
        if count in (256, 65536) and maps.dtype.is_signed:
            raise ValueError(
                f"maps: the largest id is {count - 1}, which is no superpixel in stored maps; pass them as they "
                f"are stored (uint8 or uint16, got {maps.dtype}), or count=K_half, such as dataset.count"
            )
    elif not isinstance(count, Integral) or count < 1:
        raise ValueError(f"count must be K_half, a whole number from 1 on, such as dataset.count, got {count!r}")
    labels = full_precision(labels) if labels.is_floating_point() else labels.long()
    return Batch(images, labels, maps, count, statistics=statistics)


def check_generator(generator: object) -> None:
    """Require a generator on the CPU.

    Raises
    ------
    ValueError : not a generator, or one on another device.
    """
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        found = f"one on {generator.device}" if isinstance(generator, torch.Generator) else repr(generator)
        raise ValueError(
            f"generator must be a torch.Generator on the CPU, so that draws do not depend on the device; got {found}"
        )


def _mean_and_std(statistics: tuple, channels: int) -> Statistics:
    if len(statistics) != 2:
        raise ValueError(f"statistics must be (mean, std), got {len(statistics)} values")
    mean, std = (_channels(values, channels) for values in statistics)
    if mean.device.type == std.device.type == "cpu" and not torch.compiler.is_compiling():  # else the host would wait
        if not (mean <= 1).all():
            raise ValueError(f"statistics are those of images in [0, 1], got a mean of {mean.max():g}; divide by 255")
        if not (std > 0).all():
            raise ValueError(f"statistics must have a std above 0, got {std.min():g}")
    return mean, std


def _channels(values: object, channels: int) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float32)
    if values.numel() not in (1, channels):
        raise ValueError(
            f"statistics must be (mean, std), each one number or {channels}, got shape {tuple(values.shape)}"
        )
    return values.reshape(1, -1, 1, 1)
