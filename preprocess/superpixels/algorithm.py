"""What every superpixel algorithm offers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Algorithm:
    """A way to cut an image, and what a store needs to know of it.

    Parameters
    ----------
    run : (image (H, W, 3) uint8, n_segments, compactness) -> (H, W) ids, dense from 0; deterministic.
    largest_id : ((H, W), n_segments) -> a bound on the ids, whatever the image. It fixes the dtype of a column before
        its first map is computed.
    uses_compactness : whether the third argument of ``run`` matters.
    leaves_the_lock : whether it runs without Python's global lock, so that threads of one process do not wait for each
        other.
    run_multiscale : (image, counts, compactness) -> (S, H, W) ids, the same as ``run`` for each count, if sharing work
        among the counts makes it faster.
    """

    run: Callable[[np.ndarray, int, float | None], np.ndarray]
    largest_id: Callable[[tuple[int, int], int], int]
    uses_compactness: bool = True
    leaves_the_lock: bool = False
    run_multiscale: Callable[[np.ndarray, tuple[int, ...], float | None], np.ndarray] | None = None

    def segment(self, image: np.ndarray, counts: tuple[int, ...], compactness: float | None) -> np.ndarray:
        """Cut one image at several counts: (S, H, W) ids."""
        if self.run_multiscale is not None:
            return self.run_multiscale(image, counts, compactness)
        return np.stack([self.run(image, count, compactness) for count in counts])
