"""Checks of what a user's own training loop passes: each error says what to pass instead."""

from numbers import Integral

import numpy as np
import torch
from torch import Tensor

_ROUNDED = 0.01  # how far a row of soft labels may be from 1; bfloat16 keeps three digits


def check_images(images: object) -> None:
    """Require a (B, C, H, W) floating or uint8 tensor.

    Raises
    ------
    ValueError : anything else, or no image; channels last are recognised by more than 4 channels and a width of at
        most 4.
    """
    expected = "images must be (B, C, H, W), floating or uint8"
    images = _tensor(images, "images", expected)
    if images.ndim == 3:
        hint = "; for one image pass images[None], for grey images images[:, None]"
    elif images.ndim != 4:
        hint = ""
    elif _channels_last(images.shape):
        hint = "; channels come first: pass images.permute(0, 3, 1, 2)"
    elif not (images.is_floating_point() or images.dtype == torch.uint8):
        hint = "; pass images.to(torch.uint8) if the values are 0 to 255"
    elif len(images) == 0:
        hint = "; a batch holds at least one image"
    else:
        return
    raise ValueError(f"{expected}, got {describe(images)}{hint}")


def check_labels(labels: object, images: Tensor) -> None:
    """Require class numbers, (B,) integers, or soft labels, (B, N) floating with N > 1, on the device of the images.

    Raises
    ------
    ValueError : anything else; on a CPU also soft labels that are no distributions.
    """
    B = len(images)
    expected = f"labels must be ({B},) integers, one per image, or ({B}, N) floating soft labels"
    labels = _tensor(labels, "labels", expected)
    soft, whole = labels.is_floating_point(), _is_integer(labels)
    if labels.shape == (B,) and not whole:
        hint = "; pass labels.long() if they are class numbers"
    elif labels.shape == (B, 1):
        hint = "; pass labels[:, 0].long() if they are class numbers"
    elif labels.ndim == 2 and len(labels) == B and not soft:
        hint = "; pass labels.float() for soft labels, or labels.float().argmax(1) for class numbers"
    elif labels.ndim not in (1, 2) or len(labels) != B or not labels.numel():
        hint = ""
    else:
        _check_device(labels, "labels", images)
        if soft and labels.device.type == "cpu" and not torch.compiler.is_compiling():  # elsewhere the host would wait
            _check_distributions(labels)
        return
    raise ValueError(f"{expected}, got {describe(labels)}{hint}")


def _check_distributions(labels: Tensor) -> None:
    sums, least = labels.sum(dim=1, dtype=torch.float32), labels.amin(dim=1)
    for row in torch.nonzero(~((sums - 1).abs() <= _ROUNDED) | (least < 0)).flatten().tolist():
        raise ValueError(
            f"soft labels must not be negative, and sum to 1 in each row, got a row from {float(least[row]):g} that "
            f"sums to {float(sums[row]):g}; pass labels.softmax(1) if they are scores"
        )


def check_maps(maps: object, images: Tensor) -> None:
    """Require (B, H, W) integers, on the device of the images.

    Raises
    ------
    ValueError : anything else.
    """
    B, _, H, W = images.shape
    expected = f"maps must be ({B}, {H}, {W}) integers to match images {tuple(images.shape)}"
    maps = _tensor(maps, "maps", expected)
    if maps.shape == (B, 1, H, W):
        hint = "; pass maps[:, 0]"
    elif maps.shape == (H, W):
        hint = f"; pass maps.expand({B}, {H}, {W})"
    elif maps.shape != (B, H, W):
        hint = "; crop and resize an image and its map in one step, the map by nearest neighbour"
    elif not _is_integer(maps):
        hint = "; pass maps.long() if the values are superpixel ids"
    else:
        _check_device(maps, "maps", images)
        return
    raise ValueError(f"{expected}, got {describe(maps)}{hint}")


def whole_number(name: str, value: object, least: int | None = None) -> int:
    """Require a whole number of Python or NumPy, and return it as an int.

    Raises
    ------
    ValueError : anything else, True and False too; or a number below ``least``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be an integer{bound}, got {value!r:.200}")
    return int(value)


def describe(tensor: Tensor) -> str:
    """Return shape and dtype, such as ``(4, 3, 8, 8) float32``."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] <= 4 < shape[1]


def _check_device(tensor: Tensor, name: str, images: Tensor) -> None:
    if tensor.device != images.device:
        raise ValueError(
            f"{name} must be on the device of the images, {images.device}, got {tensor.device}; "
            f"pass {name}.to(images.device)"
        )


def _tensor(value: object, name: str, expected: str) -> Tensor:
    """Return a tensor as it is; for anything else, say how to make one."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        found = f"ndarray {value.shape} {value.dtype}"
    elif isinstance(value, list | tuple):
        found = f"{type(value).__name__} of {len(value)} {type(value[0]).__name__ if len(value) else 'values'}"
    else:
        found = "None" if value is None else type(value).__name__
    raise ValueError(f"{expected}, got {found}; pass {_remedy(value, name)}")


def _remedy(value: object, name: str) -> str:
    values = value.flat if isinstance(value, np.ndarray) else value if isinstance(value, list | tuple) else ()
    first = next(iter(values), None)
    if isinstance(first, str):
        return f"torch.tensor([classes.index(label) for label in {name}]), with the names of all classes in classes"
    if isinstance(value, np.ndarray):
        last = name == "images" and _channels_last(value.shape)
        return f"torch.from_numpy({name})" + (".permute(0, 3, 1, 2)" if last else "")
    if len({getattr(item, "shape", None) for item in values}) > 1:
        return f"{name} of one shape as one tensor; maps are an argument of their own"
    if isinstance(first, Tensor):
        return f"torch.stack({name})"
    if isinstance(first, np.ndarray):
        return f"torch.from_numpy(numpy.stack({name}))"
    if hasattr(first, "convert"):  # a PIL image
        array = 'numpy.array(image.convert("RGB"))'
        return f"torch.stack([torch.from_numpy({array}).permute(2, 0, 1) for image in {name}])"
    return f"torch.tensor({name})" if first is not None else "a tensor"
