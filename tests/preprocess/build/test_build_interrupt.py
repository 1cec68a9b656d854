"""Ctrl-C in the middle of a build."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.store import Store
from tests.conftest import PROOF, ROOT

RANGES = 24
EACH = 2  # images in a range
STARTED = 4  # finished ranges after which both workers are surely at work


@pytest.fixture
def much(tmp_path: Path) -> Path:
    """48 pictures of fine noise, the slowest that SLIC meets."""
    folder = tmp_path / "raw" / "train" / "a"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(EACH * RANGES):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{index:02d}.bmp")
    return tmp_path / "raw"


# By default SIGTERM stops threads, in test_survival.
@pytest.mark.parametrize("backend", ["loky", "threading"] if PROOF else ["loky"])
@pytest.mark.parametrize("program", ["lgcoamix preprocess", "preprocess"] if PROOF else ["lgcoamix preprocess"])
def test_an_interrupted_build_says_so_and_the_next_run_finishes(much, tmp_path, run, program, backend):
    out = tmp_path / "x.h5"
    options = ["--size", "320", "--segments", "60,80", "--shard-size", str(EACH), "--backend", backend, "--jobs", "2"]
    command = ["build", "folder", "--root", str(much), "--out", str(out), *options]
    building = subprocess.Popen(
        [sys.executable, "-m", *program.split(), *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(finished(out)) < STARTED and building.poll() is None:
        time.sleep(0.01)
    os.killpg(building.pid, signal.SIGINT)
    _, told = building.communicate(timeout=60)
    assert building.returncode == 130, told
    assert "interrupted" in told
    assert "run the same command to continue" in told
    assert "Traceback" not in told
    assert not out.exists()
    kept = finished(out)
    assert STARTED <= len(kept) < RANGES
    times = {path: path.stat().st_mtime_ns for path in kept}
    done = run("-m", "preprocess", *command[:-1], "1")  # in one process
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert len(Store(out).keys("train")) == EACH * RANGES


def finished(out: Path) -> list[Path]:
    """Shards of the last column: their ranges are done."""
    return sorted(out.with_suffix(".shards").glob("train/slic-c10-80/?????-*.h5"))
