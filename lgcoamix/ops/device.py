"""Devices: which there are, and how tensors reach them without a wait."""

import torch
from torch import Tensor

from lgcoamix.errors import SettingsError


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


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor of the host to a device; the host does not wait for it.

    A plain ``.to`` from memory that is not pinned waits until the device has done all that it was given before.
    """
    if device.type == "mps" and tensor.dtype == torch.float64:  # which it does not have
        tensor = tensor.float()
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def precise(values: Tensor) -> Tensor:
    """In float64, for long sums; in float32 on a device that has no float64."""
    return values.float() if values.device.type == "mps" else values.double()
