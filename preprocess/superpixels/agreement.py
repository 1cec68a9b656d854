"""Agreement between two superpixel maps of the same image."""

import numpy as np

from preprocess.extras import required


def adjusted_rand_index(left: np.ndarray, right: np.ndarray) -> float:
    """Compare two maps; the values of their ids do not matter.

    Parameters
    ----------
    left, right : (H, W) integer ids of the same image.

    Returns
    -------
    1 for equal maps and about 0 for maps that agree only by chance. It can be negative.

    References
    ----------
    Hubert and Arabie, Comparing partitions, 1985, doi:10.1007/BF01908075, eq. 5.

    Examples
    --------
    >>> import numpy as np
    >>> from preprocess import adjusted_rand_index
    >>> halves = np.array([[0, 0, 1, 1]])
    >>> adjusted_rand_index(halves, np.array([[7, 7, 3, 3]]))
    1.0
    """
    with required("preprocess.adjusted_rand_index"):
        from skimage.metrics import contingency_table

    table = contingency_table(left, right)
    both, of_left, of_right = (
        _pairs(counts).sum() for counts in (table.data, np.asarray(table.sum(axis=1)), np.asarray(table.sum(axis=0)))
    )
    by_chance = of_left * of_right / _pairs(np.float64(left.size))
    most = 0.5 * (of_left + of_right)
    return 1.0 if most == by_chance else float((both - by_chance) / (most - by_chance))


def _pairs(counts: np.ndarray | np.float64) -> np.ndarray | np.float64:
    return counts * (counts - 1) / 2
