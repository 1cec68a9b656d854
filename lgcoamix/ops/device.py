"""Devices: which are available, and transfers that do not block the host."""

import torch
from torch import Tensor

from lgcoamix.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """Resolve ``auto`` to the first available of cuda, mps and cpu.

    Raises
    ------
    SettingsError : the device is not available.
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


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small host tensor to a device without blocking the host.

    A plain ``.to`` from unpinned memory waits until the device has finished all earlier work.
    """
    if device.type == "mps" and tensor.dtype == torch.float64:  # not supported by mps
        tensor = tensor.float()
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def seed_layers(seed: int, device: torch.device) -> None:
    """Seed what layers draw from: dropout, drop path. The draws are those after ``torch.manual_seed``.

    That function also seeds backends that are not there, which costs up to a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def precise(values: Tensor) -> Tensor:
    """Convert to float64 for long sums, or to float32 on devices without float64."""
    return values.float() if values.device.type == "mps" else values.double()
