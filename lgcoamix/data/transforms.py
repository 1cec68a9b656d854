"""Image and superpixel map through the same window: crop, resize, mirror. With OpenCV, or else the same with torch."""

import warnings
from functools import cache

import numpy as np
import torch

from lgcoamix.data.resample import resample_images, resample_maps
from lgcoamix.data.windows import Window, Windows
from preprocess.extras import install

try:
    import cv2
except ModuleNotFoundError as error:
    if error.name != "cv2":
        raise
    cv2 = None  # reading a store needs no extra
else:
    cv2.setNumThreads(0)  # DataLoader workers are parallel already


def show_window(image: np.ndarray, window: Window, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """Crop an image to a window, resize it, and mirror it if asked.

    Parameters
    ----------
    image : (H, W, 3) uint8 array.
    window : top, left, height, width and flip, see :class:`lgcoamix.data.windows.Windows`.
    size : side of the result.
    out : where the result is written, such as one image of a batch; None makes an array.

    Returns
    -------
    (size, size, 3) uint8 array. Bilinear; if a side shrinks, averaged over areas, as bilinear would alias. Pixels
    outside the image are black.
    """
    out = np.empty((size, size, 3), np.uint8) if out is None else out
    if cv2 is None:
        out[...] = _images_with_torch(image, window, size)
        return out
    height, width = window[2:4]
    shrinks = height > size or width > size
    return _show(image, window, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR, 0, out)


def show_map(
    ids: np.ndarray,
    window: Window,
    size: int,
    sentinel: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Crop a superpixel map to the same window.

    Parameters
    ----------
    ids : (H, W) uint8 or uint16 array.
    window, size, out : as in :func:`show_window`.
    sentinel : id for pixels outside the image.

    Returns
    -------
    (size, size) array of the dtype of ``ids``. Nearest, never bilinear: between ids 3 and 9 lies an unrelated
    superpixel 6. The exact variant uses the same pixel centres as the image.
    """
    out = np.empty((size, size), ids.dtype) if out is None else out
    if cv2 is None:
        out[...] = _maps_with_torch(ids, window, size, sentinel)
        return out
    return _show(ids, window, cv2.INTER_NEAREST_EXACT, sentinel, out)


def _show(values: np.ndarray, window: Window, resampling: int, outside: int, out: np.ndarray) -> np.ndarray:
    top, left, height, width, flip = window
    (H, W), size = values.shape[:2], out.shape[:2]
    over = max(0, -top), max(0, top + height - H), max(0, -left), max(0, left + width - W)
    if any(over):
        values = cv2.copyMakeBorder(values, *over, cv2.BORDER_CONSTANT, value=outside)
        top, left = top + over[0], left + over[2]
    values = values[top : top + height, left : left + width]
    if (height, width) != size:
        values = cv2.resize(values, size, dst=None if flip else out, interpolation=resampling)
    if flip:
        return cv2.flip(values, 1, dst=out)  # NumPy walks mirrored pixels one by one: 30 times slower
    if values is not out:
        out[...] = values
    return out


def _images_with_torch(image: np.ndarray, window: Window, size: int) -> np.ndarray:
    _warn()
    images = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    return resample_images(images, _windows(window), size)[0].permute(1, 2, 0).numpy()


def _maps_with_torch(ids: np.ndarray, window: Window, size: int, sentinel: int) -> np.ndarray:
    _warn()
    return resample_maps(torch.from_numpy(np.ascontiguousarray(ids))[None], _windows(window), size, sentinel)[0].numpy()


def _windows(window: Window) -> Windows:
    return Windows(*(np.array([value]) for value in window))


@cache
def _warn() -> None:
    """Say once in a process that this is slower."""
    warnings.warn(
        f"OpenCV (cv2) is missing: torch crops images to the same pixels, but slower; {install('train')}", stacklevel=4
    )
