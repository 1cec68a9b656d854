"""A batch on its way to a mixer, and the checks of what a user's own loop gives."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

Statistics = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """What a loader gives.

    Parameters
    ----------
    images : (B, 3, H, W) tensor; uint8 from the loader, floating after normalisation. Methods mix either.
    labels : (B,) int64 tensor.
    maps : (B, H, W) integer tensor of superpixel ids, or None for a method that needs none. An id outside
        [0, count) is a sentinel: no superpixel.
    count : K_half, static bound on the ids.
    samples : (B,) int64 tensor of sample numbers within the split, or None.
    statistics : mean and standard deviation of the network's inputs, (1, 3, 1, 1) tensors: floating images were
        normalised with them. None: the network takes images in [0, 1].
    """

    images: Tensor
    labels: Tensor
    maps: Tensor | None = None
    count: int = 0
    samples: Tensor | None = None
    statistics: Statistics | None = None

    def inputs(self) -> Tensor:
        """The images as the network takes them: floating and normalised."""
        if self.images.is_floating_point():
            return self.images
        mean, std = self._statistics()
        return (self.images.float() / 255 - mean) / std

    def pictures(self) -> Tensor:
        """The images as floating values in [0, 1], for a network that normalises in its own way."""
        if not self.images.is_floating_point():
            return self.images.float() / 255
        mean, std = self._statistics()
        return self.images * std + mean

    def zero(self) -> Tensor:
        """What is 0 for the network, in the dtype of the images: the mean, where these are not normalised yet."""
        if self.images.is_floating_point():
            return self.images.new_zeros(())
        return (self._statistics()[0] * 255).round().to(self.images.dtype)

    def _statistics(self) -> Statistics:
        mean, std = self.statistics or (torch.zeros(()), torch.ones(()))
        return mean.to(self.images.device), std.to(self.images.device)

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """Move every tensor to a device."""
        return replace(self, **{name: t.to(device, non_blocking=non_blocking) for name, t in self._tensors()})

    def pin_memory(self) -> Self:
        """Pin every tensor, for transfers that overlap with computing; called by torch's DataLoader."""
        return replace(self, **{name: t.pin_memory() for name, t in self._tensors()})

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of every tensor until ``stream`` has used it."""
        for _, tensor in self._tensors():
            tensor.record_stream(stream)

    def part(self, begin: int, end: int) -> Self:
        """Samples ``begin`` to ``end``."""
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
    """Check what a training loop gives, and make a batch of it.

    Parameters
    ----------
    images : (B, C, H, W) floating or uint8 tensor.
    labels : (B,) integer tensor.
    maps : (B, H, W) integer tensor, or None.
    count : K_half. None takes the largest id in ``maps`` plus one; the highest value of an unsigned type (255, 65535)
        is then the sentinel, no superpixel.
    statistics : as in :class:`Batch`; also plain numbers, one for each channel.

    Raises
    ------
    ValueError : shapes or types do not fit each other.
    """
    if images.ndim != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"images must be (B, C, H, W), floating or uint8, got {_what(images)}")
    B, C, H, W = images.shape
    if labels.shape != (B,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be ({B},) integers, one for each of {B} images, got {_what(labels)}")
    if maps is not None and (maps.shape != (B, H, W) or maps.is_floating_point()):
        raise ValueError(
            f"maps must be ({B}, {H}, {W}) integers to match images {tuple(images.shape)}, got {_what(maps)}"
        )
    if statistics is not None:
        statistics = tuple(_channels(values, C).to(images.device) for values in statistics)
    if maps is None:
        count = 0
    elif count is None:
        ids = maps.long()  # uint16 has no max
        if maps.dtype in (torch.uint8, torch.uint16, torch.uint32):
            ids = ids.where(ids < torch.iinfo(maps.dtype).max, -1)
        count = max(1, int(ids.max()) + 1)
    return Batch(images, labels.long(), maps, count, statistics=statistics)


def check_generator(generator: object) -> None:
    """See that draws come from a generator of the host.

    Raises
    ------
    ValueError : something else.
    """
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        found = f"one on {generator.device}" if isinstance(generator, torch.Generator) else repr(generator)
        raise ValueError(
            f"generator must be a torch.Generator of the CPU, so that every device draws alike, got {found}"
        )


def _channels(values: object, channels: int) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float32)
    if values.numel() not in (1, channels):
        raise ValueError(f"statistics must be (mean, std) of {channels} channels each, got {tuple(values.shape)}")
    return values.reshape(1, -1, 1, 1)


def _what(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
