"""Superpixel algorithms and the choice of scales.

To add an algorithm, write a file with a function ``(image, n_segments, compactness) -> ids``, wrap it in an
:class:`~preprocess.superpixels.algorithm.Algorithm`, and add a line to :data:`ALGORITHMS`.
"""

from preprocess.superpixels.agreement import adjusted_rand_index
from preprocess.superpixels.algorithm import Algorithm
from preprocess.superpixels.felzenszwalb import FELZENSZWALB, felzenszwalb
from preprocess.superpixels.grid import GRID, grid
from preprocess.superpixels.scales import Scale, choose_scales, describe_counts, parse_segments
from preprocess.superpixels.slic import SLIC, SLICO, slic, slic_multiscale, slico
from preprocess.superpixels.watershed import WATERSHED, watershed

ALGORITHMS = {
    "slic": SLIC,
    "slico": SLICO,
    "felzenszwalb": FELZENSZWALB,
    "watershed": WATERSHED,
    "grid": GRID,
}

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Scale",
    "adjusted_rand_index",
    "choose_scales",
    "describe_counts",
    "felzenszwalb",
    "grid",
    "parse_segments",
    "slic",
    "slic_multiscale",
    "slico",
    "watershed",
]
