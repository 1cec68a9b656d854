"""Milliseconds for one superpixel map of a real photograph, on one core."""

import os

from rich.table import Table
from skimage import segmentation

from preprocess.superpixels import slic
from tests.benchmarks.common import median_seconds, photographs

_IMAGES = 8


def measure() -> Table:
    """Compare ours with scikit-image, at 36 segments."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        return _compare()
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def _compare() -> Table:
    table = Table("superpixels, one core", "224: ms/map", "256: ms/map")
    pictures = [photographs(_IMAGES, size) for size in (224, 256)]
    for name, algorithm in (("scikit-image", _reference), ("ours", slic)):
        times = [
            median_seconds(lambda images=images, run=algorithm: [run(image, 36) for image in images], 3) / _IMAGES
            for images in pictures
        ]
        table.add_row(name, *(f"{1e3 * seconds:.1f}" for seconds in times))
    return table


def _reference(image: object, count: int) -> object:
    return segmentation.slic(image, n_segments=count, start_label=0)
