"""LGCOAMix learns the demo set by the real commands, and its attention λ departs from the area λ."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lgcoamix.cli import train
from preprocess.cli import main as preprocess
from preprocess.datasets import demo
from tests.conftest import PROOF, ROOT, Run

EPOCHS = 30 if PROOF else 6
NEEDED = 25.0 if PROOF else 75.0  # percent: twice chance for eight classes, 1.5 times chance for two


@pytest.fixture(scope="module")
def metrics(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a run with the recipe of the demo set."""
    home = tmp_path_factory.mktemp("demo")
    build = ("build", "demo", "--root", home / "demo", "--out", home / "demo.h5")
    training = ("--shards", home / "demo.h5", "--epochs", EPOCHS, "--device", "cpu", "--out", home / "run")
    (_whole_set if PROOF else _two_classes)(build, training, run)
    return home / "run" / "metrics.csv"


def _whole_set(build: tuple, training: tuple, run: Run) -> None:
    built = run("-m", "preprocess", *build)
    assert built.returncode == 0, built.stderr
    # Not with ``run``: this takes longer than it waits. One thread: on a busy machine more of them only wait.
    subprocess.run(
        [sys.executable, *map(str, (ROOT / "train.py", *training))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )


def _two_classes(build: tuple, training: tuple, _: Run) -> None:
    """The same commands in this process: two classes that differ in both parts, at half the size, with little width."""
    small = ("--image-size", 32, "--batch-size", 8, "--set", "model.width=16")
    quick = ("--workers", 0, "--no-pictures", "--no-tensorboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "CLASSES", ("banded-single", "plain-forked"))
        patch.setattr(demo, "PER_CLASS", {"train": 40, "test": 20})
        for command, options in (
            (preprocess, (*build, "--partial", "--size", 40, "--jobs", 1)),
            (train, (*training, *small, *quick)),
        ):
            done = CliRunner().invoke(command, list(map(str, options)))
            assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def rows(metrics: Path) -> list[dict[str, float]]:
    with metrics.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_lgcoamix_ends_well_above_chance_on_the_demo_set(rows):
    assert len(rows) == EPOCHS
    assert rows[-1]["test_top1"] >= NEEDED


def test_attention_and_area_weights_part_in_training(rows):
    # At initialisation every score is 0 and both agree up to rounding.
    assert rows[-1]["lam_difference"] > 0.0005
    assert rows[-1]["lam_difference"] > rows[0]["lam_difference"]
    assert rows[-1]["score_std"] > rows[0]["score_std"]
