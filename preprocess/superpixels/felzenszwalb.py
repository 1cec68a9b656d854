"""Graph-based regions (Felzenszwalb and Huttenlocher, 2004, doi:10.1023/B:VISI.0000022288.19776.77)."""

import math

import numpy as np

from preprocess.extras import required
from preprocess.superpixels.algorithm import Algorithm


def felzenszwalb(image: np.ndarray, n_segments: int, compactness: float | None = None) -> np.ndarray:
    """Split an image where colours differ more between neighbouring regions than within them.

    Parameters
    ----------
    image : (H, W, 3) uint8 array, RGB.
    n_segments : n, which sets the mean area A = H W / n: ``scale`` 3 sqrt(A), ``min_size`` A // 4, ``sigma`` 0.8.
        The number of regions depends on the image: 0.7 to 1.1 n on photographs of 64 to 256 pixels, n from 25 to 100.
    compactness : ignored.

    Returns
    -------
    (H, W) int64 array of ids, dense from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from preprocess import felzenszwalb
    >>> image = np.zeros((32, 32, 3), np.uint8)
    >>> image[:, 16:] = 255
    >>> felzenszwalb(image, n_segments=2)[0, [0, -1]]
    array([0, 1])
    """
    area = math.prod(image.shape[:2]) / n_segments
    with required("preprocess.felzenszwalb"):
        from skimage import segmentation

    return segmentation.felzenszwalb(image, scale=3 * math.sqrt(area), sigma=0.8, min_size=_least(area))


def largest_id(shape: tuple[int, int], n_segments: int) -> int:
    """Bound the ids: no region is smaller than ``min_size``."""
    pixels = math.prod(shape)
    return pixels // max(1, _least(pixels / n_segments)) - 1


def _least(area: float) -> int:
    return int(area) // 4


FELZENSZWALB = Algorithm(felzenszwalb, largest_id, uses_compactness=False)
