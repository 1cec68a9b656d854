"""The demo runs the real commands and shows what stored maps save; LGCOAMix learns its data set, and its λ moves."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import segmentation

from lgcoamix.cli import main
from lgcoamix.data import View
from lgcoamix.profiling.caching import Pace, ReleasedLoop
from lgcoamix.recipes import RECIPES
from lgcoamix.runs import demo as stages
from lgcoamix.settings.sections import DataSettings
from preprocess.datasets import demo
from preprocess.store import Store
from tests.conftest import PROOF, ROOT

EPOCHS = 30 if PROOF else 5
NEEDED = 25.0 if PROOF else 75.0  # percent: twice chance for eight classes, 1.5 times chance for two


class Shown(NamedTuple):
    """The folder of a demo, what it printed, and its run: in the proof another one, of more epochs."""

    home: Path
    text: str
    run: Path


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    home = tmp_path_factory.mktemp("demo")
    return (_whole_set if PROOF else _two_classes)(home)


def _whole_set(home: Path) -> Shown:
    # Not with ``run``: this takes longer than it waits. One thread: on a busy machine more of them only wait.
    def python(*arguments: str | Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=home, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout

    text = python("-m", "lgcoamix", "demo")
    longer = ("--shards", "data/demo.h5", "--epochs", EPOCHS, "--device", "cpu", "--out", "runs/longer")
    python(ROOT / "train.py", *longer)
    return Shown(home, text, home / "runs" / "longer")


def _two_classes(home: Path) -> Shown:
    """The same commands in this process: two classes that differ in both parts, at half the size, with little width."""
    recipe = RECIPES["demo"]
    settings = replace(
        recipe.settings,
        data=replace(recipe.settings.data, image_size=32),
        model=replace(recipe.settings.model, width=16),
        optim=replace(recipe.settings.optim, batch_size=8),
    )
    quick = {
        "build": ("--partial", "--size", "40", "--jobs", "1"),
        "show": ("--count", "2"),
        "train": ("--no-tensorboard", "--no-pictures"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(demo, "CLASSES", ("banded-single", "striped-forked"))
        patch.setattr(demo, "PER_CLASS", {"train": 32, "test": 16})
        patch.setattr(stages, "EPOCHS", EPOCHS)
        patch.setitem(RECIPES, "demo", replace(recipe, settings=settings))
        patch.setattr(stages, "_command", _in_this_process(quick))
        done = CliRunner().invoke(main, ["demo"])
    assert done.exit_code == 0, done.output
    return Shown(home, done.output, home / "runs" / "demo")


def _in_this_process(quick: dict[str, tuple[str, ...]]) -> Callable:
    def command(say: Callable[[str], None], *arguments: str) -> None:
        extra = [option for word in arguments[:2] for option in quick.get(word, ())]
        done = CliRunner().invoke(main, [*arguments, *extra])
        assert done.exit_code == 0, done.output
        say(f"$ {' '.join(arguments)}")

    return command


@pytest.fixture(scope="module")
def rows(shown) -> list[dict[str, float]]:
    with (shown.run / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_lgcoamix_ends_well_above_chance_on_the_demo_set(rows):
    assert len(rows) == EPOCHS
    assert rows[-1]["test_top1"] >= NEEDED


def test_attention_and_area_weights_part_in_training(rows):
    # At initialisation every score is 0 and both agree up to rounding.
    assert rows[-1]["lam_difference"] > 0.0005
    assert rows[-1]["lam_difference"] > rows[0]["lam_difference"]
    assert rows[-1]["score_std"] > rows[0]["score_std"]


def test_the_demo_shows_that_stored_maps_are_faster_than_maps_made_in_the_loop(shown):
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.text.splitlines() if "│" in line]
    found = {name.partition(":")[2].strip() or name: row for name, *row in cells if name.startswith(("stored", "in "))}
    maps, load, step, rate, most = zip(*([float(cell) for cell in row] for row in found.values()), strict=True)
    assert len(found) == 3
    assert maps == (1, 1, 2)
    assert load[0] < load[2]
    assert min(step) == max(step) > 0
    assert rate[0] >= rate[2] > 0
    ratio, loading = map(float, re.search(r"are ([\d.]+) times .* loading alone (\d+) times", shown.text).groups())
    assert 1 <= ratio <= loading
    assert loading == pytest.approx(load[2] / load[0], rel=0.1, abs=0.5)  # of figures with two decimals
    for place in range(3):
        assert rate[place] == pytest.approx(1000 / (load[place] + step[place]), rel=0.05, abs=0.5)
        assert most[place] == pytest.approx(1000 / load[place], rel=0.1, abs=0.5)


def test_the_released_loop_segments_every_image_twice_by_scikit_image(shown, monkeypatch):
    calls, slic = [], segmentation.slic

    def counted(image: np.ndarray, segments: int, *arguments: object, **options: object) -> np.ndarray:
        calls.append((image.copy(), segments))
        return slic(image, segments, *arguments, **options)

    view = View(DataSettings(image_size=32, crop="random"), train=True)
    loop = ReleasedLoop(Store(shown.home / "data" / "demo.h5"), "train", view)
    monkeypatch.setattr(segmentation, "slic", counted)
    batch = loop.__getitems__([(0, place) for place in range(6)])
    loop.store.close()
    assert len(calls) == 12
    for number, image in enumerate(batch.images.permute(0, 2, 3, 1).numpy()):
        (pasted, _), (received, segments) = calls[2 * number : 2 * number + 2]
        assert np.array_equal(pasted, image)
        assert np.array_equal(received, image)
        assert np.array_equal(batch.maps[number], slic(image, segments, 10.0, start_label=0))
    assert len({first for _, first in calls[::2]}) > 1  # drawn anew for the second pair
    assert any(first != second for (_, first), (_, second) in zip(calls[::2], calls[1::2], strict=True))


def test_rates_follow_from_milliseconds():
    pace = Pace(load=2.0, step=8.0)
    assert (pace.images_per_second, pace.loaded_per_second) == (100, 500)


def test_the_demo_names_the_pictures_and_the_model_that_it_leaves(shown):
    named = [line.split()[0].rstrip(":") for line in shown.text.splitlines() if line.startswith("  ")]
    assert named == ["data/demo-superpixels.png", "runs/demo/mixed.png", "runs/demo/curves.png"]
    for name in named if PROOF else named[:1]:  # those of a run take seconds
        with Image.open(shown.home / name) as picture:
            assert min(picture.size) > 200
    with (shown.home / "models" / "demo-predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"].endswith("striped-forked/000.png")


def test_the_demo_compares_no_accuracies(shown):
    assert "No method is compared here" in shown.text
    assert [path.name for path in (shown.home / "runs").iterdir() if path.name.startswith("demo")] == ["demo"]
