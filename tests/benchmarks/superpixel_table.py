"""How many times as fast as scikit-image our SLIC is, by side, count and number of scales, with AVX2 and as it is."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from numpy._core._multiarray_umath import __cpu_dispatch__
from rich.console import Group
from rich.table import Table
from skimage import segmentation

from preprocess.superpixels import slic_multiscale
from tests.benchmarks.common import photographs
from tests.conftest import ROOT

_SIDES, _COUNTS = (32, 64, 224, 448, 1024), (30, 36, 200, 1000)
_NEAR = (30 / 36, 33 / 36, 1, 39 / 36)  # four near scales: these times the count
_ROUNDS, _PIXELS, _MOST = 5, 2**20, 20  # a cell: photographs of about so many pixels, at least 2
# A processor without AVX-512, for numba, numpy and OpenBLAS.
_AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
    "NPY_DISABLE_CPU_FEATURES": " ".join(name for name in __cpu_dispatch__ if "512" in name or name == "X86_V4"),
    "OPENBLAS_CORETYPE": "Haswell",
}


def measure() -> Group:
    """Every cell on AVX2 alone, then on this processor as it is, each in a process of its own."""
    with tempfile.TemporaryDirectory() as cache:
        forced = _in_a_process({**_AVX2, "NUMBA_CACHE_DIR": cache})
    return Group(_show("AVX2", forced), _show("this processor", _in_a_process({})))


def _in_a_process(settings: dict[str, str]) -> list[list[float]]:
    command = [sys.executable, "-m", "tests.benchmarks.superpixel_table"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _show(name: str, cells: list[list[float]]) -> Table:
    table = Table("side", "n", "one scale: ms/map", "times", "four: ms/map", "times", title=f"SLIC on {name}")
    for side, count, one, times, four, more in cells:
        table.add_row(f"{side:.0f}", f"{count:.0f}", f"{one:.2f}", f"{times:.1f}", f"{four:.2f}", f"{more:.1f}")
    return table


def _cells() -> list[tuple[float, ...]]:
    rows = []
    for side in _SIDES:
        pictures = photographs(min(_MOST, max(2, _PIXELS // side**2)), side)
        for count in _COUNTS:
            near = tuple(round(count * part) for part in _NEAR)
            rows.append((side, count, *_against(pictures, (count,)), *_against(pictures, near)))
    return rows


def _against(pictures: np.ndarray, counts: tuple[int, ...]) -> tuple[float, float]:
    """Our milliseconds of a processor for one map, and scikit-image's over ours: medians of interleaved rounds."""
    ours, ratios = [], []
    for number in range(1 + _ROUNDS):
        our = _busy(lambda: [slic_multiscale(image, counts) for image in pictures])
        their = _busy(lambda: [segmentation.slic(image, n, start_label=0) for image in pictures for n in counts])
        if number > 0:  # the first round compiles
            ours.append(1e3 * our / len(counts) / len(pictures))
            ratios.append(their / our)
    return statistics.median(ours), statistics.median(ratios)


def _busy(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    json.dump(_cells(), sys.stdout)
