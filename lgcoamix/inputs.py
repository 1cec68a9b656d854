"""From stored bytes to the numbers that a network takes, on the device."""

import torch
from torch import Tensor

from lgcoamix.errors import SettingsError


def to_inputs(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale and normalise.

    Parameters
    ----------
    images : (B, 3, H, W) uint8 tensor.
    mean, std : per channel, in [0, 1]; 0 and 1 leave inputs in [0, 1].

    Returns
    -------
    (B, 3, H, W) float32 tensor, contiguous.
    """
    scaled = images.float().div(255).contiguous()
    if not any(mean) and set(std) == {1.0}:
        return scaled
    shape = (1, 3, 1, 1)
    return (scaled - scaled.new_tensor(mean).view(shape)) / scaled.new_tensor(std).view(shape)


def no_normalisation() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that change nothing."""
    return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def to_picture(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The inverse of :func:`to_inputs`, as (B, H, W, 3) float32 values in [0, 1]."""
    shape = (1, 3, 1, 1)
    values = images * images.new_tensor(std).view(shape) + images.new_tensor(mean).view(shape)
    return values.clamp(0, 1).permute(0, 2, 3, 1)


def pick_device(name: str) -> torch.device:
    """Resolve ``auto`` to cuda, mps or cpu, whichever is there first.

    Raises
    ------
    SettingsError : this machine has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        found = ", ".join(device for device, available in there.items() if available)
        raise SettingsError(
            f"this machine has no device {name!r} that torch {torch.__version__} can use; it has {found}"
        )
    return torch.device(name)
