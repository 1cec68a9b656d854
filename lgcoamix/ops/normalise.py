"""From stored uint8 images to the normalised inputs of a network, on the device."""

import torch
from torch import Tensor

from lgcoamix.ops.batch import Statistics


def to_inputs(images: Tensor, mean: Tensor, std: Tensor, memory_format: torch.memory_format | None = None) -> Tensor:
    """Scale and normalise.

    Parameters
    ----------
    images : (B, 3, H, W) uint8 tensor.
    mean, std : (1, 3, 1, 1) float32 tensors in [0, 1], on the device of the images; 0 and 1 do not normalise.
    memory_format : memory format of the result; None: contiguous.

    Returns
    -------
    (B, 3, H, W) float32 tensor.
    """
    scaled = images.float().div(255).contiguous(memory_format=memory_format or torch.contiguous_format)
    return (scaled - mean) / std


def make_statistics(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str = "cpu") -> Statistics:
    """Build (1, 3, 1, 1) tensors of mean and standard deviation on a device."""
    shape = (1, 3, 1, 1)
    return torch.tensor(mean).view(shape).to(device), torch.tensor(std).view(shape).to(device)


def no_normalisation(device: torch.device | str = "cpu") -> Statistics:
    """Mean 0 and standard deviation 1, which leave inputs in [0, 1]."""
    return make_statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), device)


def to_picture(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Invert :func:`to_inputs`: (B, H, W, 3) float32 values in [0, 1]."""
    return (images * std + mean).clamp(0, 1).permute(0, 2, 3, 1)
