"""LGCOAMix learns the demo set by the real commands, and its attention λ departs from the area λ."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT, Run

EPOCHS = 30 if PROOF else 3
CHANCE = 12.5  # percent, eight classes


@pytest.fixture(scope="module")
def rows(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """Metrics of a run with the recipe of the demo set, cut to a few epochs."""
    home: Path = tmp_path_factory.mktemp("demo")
    store = home / "demo.h5"
    built = run("-m", "preprocess", "build", "demo", "--root", home / "demo", "--out", store)
    assert built.returncode == 0, built.stderr
    options = ("--shards", store, "--epochs", EPOCHS, "--device", "cpu", "--out", home / "run")
    # Not with ``run``: the full count takes longer than it waits. One thread: on a busy machine more of them only wait.
    subprocess.run(
        [sys.executable, *map(str, (ROOT / "train.py", *options))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=home,
        check=True,
    )
    with (home / "run" / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_lgcoamix_ends_well_above_chance_on_the_demo_set(rows):
    assert len(rows) == EPOCHS
    assert rows[-1]["test_top1"] >= 2 * CHANCE


def test_attention_and_area_weights_part_in_training(rows):
    # At initialisation every score is 0 and both agree up to rounding.
    assert rows[-1]["lam_difference"] > 0.0005
    assert rows[-1]["lam_difference"] > rows[0]["lam_difference"]
    assert rows[-1]["score_std"] > rows[0]["score_std"]
