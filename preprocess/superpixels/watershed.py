"""Compact watershed (Neubert and Protzel, 2014, doi:10.1109/ICPR.2014.181)."""

import math

import numpy as np

from preprocess.extras import required
from preprocess.superpixels.algorithm import Algorithm

# Factor to scikit-image's compactness, which weighs distance against a gradient in [0, 1]. Compactness 10 becomes the
# 0.001 that scikit-image's gallery uses.
_WEIGHT = 1e-4


def watershed(image: np.ndarray, n_segments: int, compactness: float = 10.0) -> np.ndarray:
    """Flood the gradient of an image from a regular grid of markers.

    Parameters
    ----------
    image : (H, W, 3) uint8 array, RGB.
    n_segments : number of markers; the grid is rounded as in SLIC. Each marker grows into one superpixel.
    compactness : weight of distance, in units of 1e-4 of scikit-image's. Larger values give squarer superpixels.

    Returns
    -------
    (H, W) int32 array of ids, dense from 0.

    Examples
    --------
    >>> from preprocess import Store, watershed
    >>> image = Store("data/cub.h5").images("train", [0])[0]
    >>> int(watershed(image, n_segments=9).max())
    8
    """
    with required("preprocess.watershed"):
        from skimage import color, filters, segmentation

    gradient = filters.sobel(color.rgb2gray(image))
    return segmentation.watershed(gradient, markers=n_segments, compactness=_WEIGHT * compactness) - 1


def largest_id(shape: tuple[int, int], n_segments: int) -> int:
    """The largest id: one per marker."""
    with required("preprocess.watershed"):
        from skimage.util import regular_grid

    axes = regular_grid(shape, n_segments)
    return math.prod(len(range(length)[axis]) for axis, length in zip(axes, shape, strict=True)) - 1


WATERSHED = Algorithm(watershed, largest_id)
