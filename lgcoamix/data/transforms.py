"""Image and superpixel map through the same window: crop, resize, mirror. With OpenCV, or else the same with torch."""

import warnings
from functools import cache

import numpy as np
import torch

from lgcoamix.data.resample import resample_images, resample_maps
from lgcoamix.data.windows import Windows
from preprocess.extras import install

try:
    import cv2
except ModuleNotFoundError as error:
    if error.name != "cv2":
        raise
    cv2 = None  # reading a store needs no extra
else:
    cv2.setNumThreads(0)  # DataLoader workers are parallel already


def show_window(image: np.ndarray, window: tuple[int, int, int, int, bool], size: int) -> np.ndarray:
    """Crop an image to a window, resize it, and mirror it if asked.

    Parameters
    ----------
    image : (H, W, 3) uint8 array.
    window : top, left, height, width and flip, see :class:`lgcoamix.data.windows.Windows`.
    size : side of the result.

    Returns
    -------
    (size, size, 3) uint8 array. Bilinear; if a side shrinks, averaged over areas, as bilinear would alias. Pixels
    outside the image are black.
    """
    if cv2 is None:
        return _images_with_torch(image, window, size)
    height, width = window[2:4]
    shrinks = height > size or width > size
    return _show(image, window, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR, 0)


def show_map(ids: np.ndarray, window: tuple[int, int, int, int, bool], size: int, sentinel: int) -> np.ndarray:
    """Crop a superpixel map to the same window.

    Parameters
    ----------
    ids : (H, W) uint8 or uint16 array.
    window, size : as in :func:`show_window`.
    sentinel : id for pixels outside the image.

    Returns
    -------
    (size, size) array of the dtype of ``ids``. Nearest, never bilinear: between ids 3 and 9 lies an unrelated
    superpixel 6. The exact variant uses the same pixel centres as the image.
    """
    if cv2 is None:
        return _maps_with_torch(ids, window, size, sentinel)
    return _show(ids, window, size, cv2.INTER_NEAREST_EXACT, sentinel)


def _show(
    values: np.ndarray, window: tuple[int, int, int, int, bool], size: int, resampling: int, outside: int
) -> np.ndarray:
    top, left, height, width, flip = window
    H, W = values.shape[:2]
    over = max(0, -top), max(0, top + height - H), max(0, -left), max(0, left + width - W)
    if any(over):
        values = cv2.copyMakeBorder(values, *over, cv2.BORDER_CONSTANT, value=outside)
        top, left = top + over[0], left + over[2]
    values = values[top : top + height, left : left + width]
    if (height, width) != (size, size):
        values = cv2.resize(values, (size, size), interpolation=resampling)
    return np.ascontiguousarray(values[:, ::-1] if flip else values)


def _images_with_torch(image: np.ndarray, window: tuple[int, int, int, int, bool], size: int) -> np.ndarray:
    _warn()
    images = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    return resample_images(images, _windows(window), size)[0].permute(1, 2, 0).contiguous().numpy()


def _maps_with_torch(ids: np.ndarray, window: tuple[int, int, int, int, bool], size: int, sentinel: int) -> np.ndarray:
    _warn()
    return resample_maps(torch.from_numpy(np.ascontiguousarray(ids))[None], _windows(window), size, sentinel)[0].numpy()


def _windows(window: tuple[int, int, int, int, bool]) -> Windows:
    return Windows(*(np.array([value]) for value in window))


@cache
def _warn() -> None:
    """Say once in a process that this is slower."""
    warnings.warn(
        f"OpenCV (cv2) is missing: torch crops images to the same pixels, but slower; {install('train')}", stacklevel=4
    )
