"""Superpixel maps of real photographs at 224 pixels, on one core: side by side, interleaved, medians of rounds."""

import importlib
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Group
from rich.table import Table
from skimage import segmentation

from preprocess.superpixels import slic, slic_multiscale
from preprocess.superpixels.slic_kernel import TILE, connect
from tests.benchmarks.common import photographs

_IMAGES, _SIZE, _ROUNDS = 20, 224, 7
_COUNT, _COUNTS, _COMPACTNESS = 36, (30, 33, 36, 39), 10.0
_MODULE = importlib.import_module("preprocess.superpixels.slic")


def measure() -> Group:
    """Compare with scikit-image and, where they are installed, fast-slic and OpenCV; say where our time goes."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        pictures = photographs(_IMAGES, _SIZE)
        return Group(_compare(pictures), _profile(pictures))
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def _compare(pictures: np.ndarray) -> Table:
    works = {
        "scikit-image, one scale": lambda image: segmentation.slic(image, _COUNT, start_label=0),
        "scikit-image, four scales": lambda image: [segmentation.slic(image, n, start_label=0) for n in _COUNTS],
        "ours, one scale": lambda image: slic(image, _COUNT),
        "ours, four scales": lambda image: slic_multiscale(image, _COUNTS),
        **_others(),
    }
    maps = {name: len(_COUNTS) if "four" in name else 1 for name in works}
    seconds = _interleaved(works, pictures)
    table = Table(
        f"superpixels at {_SIZE}, one core", "ms/map", "maps/s", "times scikit-image", "labels as scikit-image"
    )
    for name, work in works.items():
        each = seconds[name] / maps[name]
        theirs = "scikit-image, four scales" if "four" in name else "scikit-image, one scale"
        ratio = seconds[theirs] / maps[theirs] / each
        same = all(np.array_equal(work(image), works[theirs](image)) for image in pictures)
        table.add_row(name, f"{1e3 * each:.2f}", f"{1 / each:.0f}", f"{ratio:.1f}", "yes" if same else "no")
    return table


def _others() -> dict[str, Callable]:
    found = {}
    try:
        from fast_slic.avx2 import SlicAvx2

        found["fast-slic (AVX2)"] = lambda image: SlicAvx2(num_components=_COUNT, compactness=10).iterate(image)
    except ImportError:
        pass
    try:
        from cv2 import COLOR_RGB2LAB, cvtColor, ximgproc

        found["OpenCV ximgproc"] = lambda image: _opencv(cvtColor(image, COLOR_RGB2LAB), ximgproc)
    except ImportError:
        pass
    return found


def _opencv(image: np.ndarray, ximgproc: object) -> np.ndarray:
    found = ximgproc.createSuperpixelSLIC(image, ximgproc.SLIC, int((_SIZE * _SIZE / _COUNT) ** 0.5), 10.0)
    found.iterate(10)
    found.enforceLabelConnectivity()
    return found.getLabels()


def _profile(pictures: np.ndarray) -> Table:
    """Time the parts; without the k-means proper, colours, first iteration and connected pieces are the floor."""
    grid = _MODULE._grid((_SIZE, _SIZE), _COUNT, _COMPACTNESS)
    assert min(grid.window_y, grid.window_x) >= TILE
    ids, size = np.empty((_SIZE, _SIZE), np.int64), _SIZE * _SIZE / grid.seeds
    found = np.empty((_SIZE, _SIZE), np.int16)

    def labels(image: np.ndarray, iterations: int) -> np.ndarray:
        _MODULE._by_tiles(_MODULE._Colours(image, _COMPACTNESS), grid, iterations - 1, found)
        return found

    def whole(image: np.ndarray) -> None:
        connect(labels(image, 10), int(0.5 * size), int(3 * size), ids)

    seconds = _interleaved(
        {
            "colours": lambda image: _MODULE._Colours(image, _COMPACTNESS),
            "first": lambda image: labels(image, 1),
            "second": lambda image: labels(image, 2),
            "all": lambda image: labels(image, 10),
            "whole": whole,
        },
        pictures,
    )
    parts = {
        "colours and tiles, once an image": seconds["colours"],
        "first iteration (geometry) and its sums": seconds["first"] - seconds["colours"],
        "second iteration, in which half of the pixels move": seconds["second"] - seconds["first"],
        "third to tenth iteration": seconds["all"] - seconds["second"],
        "connected pieces": seconds["whole"] - seconds["all"],
    }
    table = Table(f"where one scale of {_COUNT} goes", "ms", "share")
    for name, part in parts.items():
        table.add_row(name, f"{1e3 * part:.2f}", f"{100 * part / seconds['whole']:.0f} %")
    floor = seconds["whole"] - (seconds["all"] - seconds["first"])
    table.add_row("floor: all but iterations 2 to 10", f"{1e3 * floor:.2f}", f"{100 * floor / seconds['whole']:.0f} %")
    return table


def _interleaved(works: dict[str, Callable], pictures: np.ndarray) -> dict[str, float]:
    """Median seconds of each work for one image; in every round each work sees all images."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(1 + _ROUNDS):
        for name, work in works.items():
            begin = time.perf_counter()
            for image in pictures:
                work(image)
            if number > 0:  # the first round warms up
                times[name].append((time.perf_counter() - begin) / len(pictures))
    return {name: statistics.median(found) for name, found in times.items()}
