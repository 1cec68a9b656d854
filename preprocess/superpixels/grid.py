"""Equal rectangles: a control that ignores the content, like GridMix (doi:10.1016/j.patcog.2020.107594)."""

import math

import numpy as np

from preprocess.superpixels.algorithm import Algorithm


def grid(image: np.ndarray, n_segments: int, compactness: float | None = None) -> np.ndarray:
    """Split an image into rows and columns of nearly square cells.

    Parameters
    ----------
    image : (H, W, 3) uint8 array.
    n_segments : n becomes R = round(sqrt(n H / W)) rows and round(n / R) columns: at least 1, at most one per pixel.
    compactness : ignored.

    Returns
    -------
    (H, W) int64 array of ids, dense from 0, in row-major order. Cell sides differ by at most one pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from preprocess import grid
    >>> grid(np.zeros((2, 4, 3), np.uint8), n_segments=2)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    height, width = image.shape[:2]
    rows, columns = _cells((height, width), n_segments)
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    return y[:, None] * columns + x[None, :]


def largest_id(shape: tuple[int, int], n_segments: int) -> int:
    """The largest id: one per cell."""
    return math.prod(_cells(shape, n_segments)) - 1


def _cells(shape: tuple[int, int], n_segments: int) -> tuple[int, int]:
    height, width = shape
    rows = min(height, max(1, round(math.sqrt(n_segments * height / width))))
    return rows, min(width, max(1, round(n_segments / rows)))


GRID = Algorithm(grid, largest_id, uses_compactness=False)
