"""How alike two maps of the same image are."""

import numpy as np
from skimage import metrics


def adjusted_rand_index(left: np.ndarray, right: np.ndarray) -> float:
    """Compare two maps, whatever their ids are called (Hubert and Arabie, 1985, doi:10.1007/BF01908075, eq. 5).

    Parameters
    ----------
    left, right : (H, W) integer ids of the same image.

    Returns
    -------
    1 for equal maps; about 0 for maps that agree as often as chance would have it; may be negative.
    """
    table = metrics.contingency_table(left, right)
    both, of_left, of_right = (
        _pairs(counts).sum() for counts in (table.data, np.asarray(table.sum(axis=1)), np.asarray(table.sum(axis=0)))
    )
    by_chance = of_left * of_right / _pairs(np.float64(left.size))
    most = 0.5 * (of_left + of_right)
    return 1.0 if most == by_chance else float((both - by_chance) / (most - by_chance))


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) / 2
