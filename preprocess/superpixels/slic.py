"""SLIC superpixels (Achanta et al., 2012, doi:10.1109/TPAMI.2012.120)."""

import numpy as np
from skimage import segmentation


def slic(
    image: np.ndarray,
    n_segments: int,
    compactness: float = 10.0,
    max_num_iter: int = 10,
    slic_zero: bool = False,
    enforce_connectivity: bool = True,
) -> np.ndarray:
    """Cut an image into superpixels of similar colour.

    Parameters
    ----------
    image : (H, W, 3) uint8 array, RGB.
    n_segments : target number of superpixels, at least 1; SLIC may return fewer or more.
    compactness : weight of distance in the plane against distance in colour, positive. Larger: squarer superpixels.
    max_num_iter : number of k-means iterations.
    slic_zero : adapt the compactness to each superpixel (SLICO).
    enforce_connectivity : give every connected piece an id of its own and merge small ones.

    Returns
    -------
    (H, W) integer array of ids from 0, equal to ``skimage.segmentation.slic(image, ..., start_label=0)``.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if n_segments < 1 or compactness <= 0:
        raise ValueError(f"n_segments must be at least 1 and compactness positive, got {n_segments} and {compactness}")
    return segmentation.slic(
        image,
        n_segments=n_segments,
        compactness=compactness,
        max_num_iter=max_num_iter,
        slic_zero=slic_zero,
        enforce_connectivity=enforce_connectivity,
        start_label=0,
        channel_axis=-1,
    )
