"""Stores of every algorithm, and what a build pays for a compiled one."""

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from preprocess.build.backends import choose_backend
from preprocess.store import Store
from preprocess.superpixels import ALGORITHMS
from tests.conftest import PROOF, ROOT, paint, run_command
from tests.preprocess.conftest import build_command


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_stored_maps_are_those_of_the_algorithm_on_the_stored_pixels(noisy, tmp_path, run, name):
    out = tmp_path / "store.h5"
    done = run(*build_command(noisy, out, "--algorithm", name, "--segments", "4,9,200"))
    assert done.returncode == 0, done.stderr
    store, indices = Store(out), range(4)
    for count in (4, 9, 200):
        for image, ids in zip(store.images("train", indices), store.maps("train", count, indices), strict=True):
            np.testing.assert_array_equal(ids, ALGORITHMS[name].run(image, count, 10.0))
    # The dtype follows from the plan: what the algorithm can give, not what it gave.
    superpixels = f"{name}-c10" if ALGORITHMS[name].uses_compactness else name
    for count in (4, 9, 200):
        bound = ALGORITHMS[name].largest_id((16, 16), count)
        column = store.document["splits"]["train"]["columns"][f"{superpixels}-{count}"]
        assert column["dtype"] == ("uint8" if bound < 255 else "uint16")
    told = run("-m", "preprocess", "inspect", out)
    assert told.returncode == 0, told.stderr
    assert f"superpixels {superpixels}-4,9,200: counts (draw weights) 4 (0.333), 9 (0.333), 200 (0.333)" in told.stdout
    rows = [line.split("│")[2].strip() for line in told.stdout.splitlines() if line.startswith("│ train")]
    assert rows == ["images", *(f"{superpixels}-{count}" for count in (4, 9, 200))]  # so the next row is the next scale
    (chosen,) = json.loads(run("-m", "preprocess", "inspect", out, "--json").stdout)["superpixels"]
    assert chosen["compactness"] == (10.0 if ALGORITHMS[name].uses_compactness else None)


# Where the tasks begin, and after each of them: what was compiled, or loaded from the cache, in this process.
COUNT = """
from numba.core.dispatcher import Dispatcher
from preprocess.build import run
from preprocess.cli import main
from preprocess.superpixels import slic_kernel

def compiled():
    kernels = [each for each in vars(slic_kernel).values() if isinstance(each, Dispatcher)]
    return sum(len(kernel.signatures) for kernel in kernels)

def run_parallel(work, calls, done, *rest):
    before = compiled()
    for call in calls:
        done(work(*call))
    print("compiled", before, compiled())

run.run_parallel = run_parallel
main(prog_name="preprocess")
"""


def test_a_compiled_algorithm_is_prepared_before_the_first_task(noisy, tmp_path):
    done = run_command("-c", COUNT, *build_command(noisy, tmp_path / "x.h5")[2:])
    assert done.returncode == 0, done.stderr
    before, after = map(int, re.search(r"compiled (\d+) (\d+)", done.stdout).groups())
    assert 0 < before == after


@pytest.mark.skipif(not PROOF, reason="compiles for a quarter of a minute")
def test_a_compiled_algorithm_is_compiled_once_and_not_by_the_workers(noisy, tmp_path):
    command = build_command(noisy, tmp_path / "first.h5", "--jobs", "2", "--shard-size", "2")
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_DEBUG_CACHE": "1"}
    done = run_command(*command, **cache)
    assert done.returncode == 0, done.stderr
    saved = Counter(re.findall(r"data saved to '([^']+)'", done.stdout))
    assert any("cluster" in path for path in saved)
    assert set(saved.values()) == {1}
    again = run_command(*build_command(noisy, tmp_path / "second.h5", "--jobs", "2", "--shard-size", "2"), **cache)
    assert again.returncode == 0, again.stderr
    assert "data loaded from" in again.stdout
    assert "data saved to" not in again.stdout


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="the peak memory of one process is read with wait4")
def test_peak_memory_does_not_grow_with_the_number_of_images(tmp_path):
    few, many = (_peak(tmp_path, number) for number in (16, 400))
    assert many - few < 8 * 2**20, (few, many)  # 384 images and maps are 30 MiB raw


def _peak(home: Path, number: int) -> int:
    """Peak resident bytes of a build in one process."""
    root = home / f"raw{number}"
    for index in range(number):
        paint(root / "train" / "ab"[index % 2] / f"{index}.png", index)
    out = home / f"{number}.h5"
    options = ("--size", "128", "--segments", "9,16", "--shard-size", "8", "--jobs", "1")
    options += () if PROOF else ("--algorithm", "grid")
    command = ["-m", "preprocess", "build", "folder", "--root", str(root), "--out", str(out), *options]
    process = os.spawnve(
        os.P_NOWAIT, sys.executable, [sys.executable, *command], {**os.environ, "PYTHONPATH": str(ROOT)}
    )
    _, status, usage = os.wait4(process, 0)
    assert status == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize(
    ("algorithm", "jobs", "size", "images", "backend"),
    [
        ("slic", 2, 256, 12_000, "threading"),
        ("slic", 8, 256, 12_000, "loky"),
        ("grid", 2, 256, 12_000, "loky"),
        ("slic", 2, 32, 60_000, "loky"),
        ("slic", 2, 80, 60_000, "threading"),
        ("slic", 2, 32, 960, "threading"),
        ("slic", 2, None, 12_000, "threading"),
    ],
)
def test_threads_do_what_processes_do_not_do_faster(algorithm, jobs, size, images, backend):
    """As measured: see the docstring of the function."""
    assert choose_backend(algorithm, jobs, size, images) == backend
