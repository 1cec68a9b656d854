"""Superpixel algorithms and the choice of scales.

``ALGORITHMS[name](image, n_segments, compactness)`` maps (H, W, 3) uint8 to (H, W) ids, dense from 0. A new
algorithm is one function in one new file, and one line here.
"""

from preprocess.superpixels.scales import Scale, choose_scales, largest_id, parse_segments
from preprocess.superpixels.slic import slic

ALGORITHMS = {"slic": slic}

__all__ = ["ALGORITHMS", "Scale", "choose_scales", "largest_id", "parse_segments", "slic"]
