"""The interface of a superpixel algorithm."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Algorithm:
    """A superpixel algorithm, with what a store needs to know about it.

    Parameters
    ----------
    run : (image (H, W, 3) uint8, n_segments, compactness) -> (H, W) ids, dense from 0. Must be deterministic.
    largest_id : ((H, W), n_segments) -> an upper bound on the ids of any image. It fixes the dtype of a column before
        the first map is computed.
    uses_compactness : whether ``run`` uses its third argument.
    leaves_the_lock : whether it releases Python's global interpreter lock, so that threads run in parallel.
    run_multiscale : (image, counts, compactness) -> (S, H, W) ids, equal to ``run`` at each count. Set it when several
        counts can share work.

    Examples
    --------
    >>> import numpy as np
    >>> from preprocess import ALGORITHMS
    >>> image = np.zeros((8, 8, 3), np.uint8)
    >>> ALGORITHMS["grid"].segment(image, counts=(4, 16), compactness=None).shape
    (2, 8, 8)
    >>> ALGORITHMS["grid"].largest_id((8, 8), 16)
    15
    """

    run: Callable[[np.ndarray, int, Any], np.ndarray]  # the third is a float or None, as it takes
    largest_id: Callable[[tuple[int, int], int], int]
    uses_compactness: bool = True
    leaves_the_lock: bool = False
    run_multiscale: Callable[[np.ndarray, tuple[int, ...], Any], np.ndarray] | None = None

    def segment(self, image: np.ndarray, counts: tuple[int, ...], compactness: float | None) -> np.ndarray:
        """Segment one image at S counts: (S, H, W) ids."""
        if self.run_multiscale is not None:
            return self.run_multiscale(image, counts, compactness)
        return np.stack([self.run(image, count, compactness) for count in counts])
