"""The study: list, driver, statistics, tables. Cells are written by hand, and a stand-in trains."""

import json
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from lgcoamix.cli import train
from lgcoamix.cli.settings import choose_settings
from lgcoamix.errors import RunError
from lgcoamix.runs.lock import lock_folder
from lgcoamix.settings.sections import to_plain
from preprocess.cli import main as preprocess
from preprocess.inspect.duplicates import find_duplicates
from preprocess.raw.selection import read_exclude_list
from preprocess.store import Store
from tests.conftest import PROOF, ROOT
from tests.study import __main__ as study_command
from tests.study import driver, kept, stores, tables
from tests.study.kept import Cells
from tests.study.plan import Cell, plan
from tests.study.plot import plot_length
from tests.study.stores import COPIES, STORES

SIZES = (14, 28, 56, 112, 224)


def cell(group: str, seed: int = 0, against: str = "", **others: object) -> Cell:
    """A cell of none, for ``make``."""
    return Cell(group, seed, "flowers17", "slic-c10-35", "none", ("optim.epochs=2",), against=against, **others)


def write_run(folder: Path, cell: Cell, last: float, **config: object) -> Path:
    """The documents that train writes."""
    split = "val" if cell.val_fraction else "test"
    summary = {"last": last, "best": last + 1, "median_of_last_10": last - 1}
    documents = {
        "config.json": {
            "recipe": "general",
            "settings": to_plain(cell.settings),
            "seed": cell.seed,
            "val_fraction": cell.val_fraction,
            "test_split": "test",
            "store": {
                "name": cell.store,
                "superpixels": cell.identity["store"]["superpixels"],
                "keys": {"train/images": "a", "test/images": "b", "train/slic-c10-35": "c"},
            },
            "classes": ["iris", "tulip"],
            "digests": {},
            "folder": "/home/somebody",
            "device": "cpu",
            "versions": {"torch": "2.15.0", "timm": "1.0.20"},
            "commit": "0123456789ab",
            **config,
        },
        "results.json": {f"{split}_top1": summary, "best_chosen_on": split, "epochs": 2},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    (folder / "metrics.csv").write_text(f"epoch,{split}_top1\r\n0,1\r\n1,{last}\r\n")
    return folder


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cells:
    """No finished cells, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "processor", lambda: "a processor")
    monkeypatch.setattr(driver, "prepare", lambda *_: None)
    return Cells(tmp_path / "cells")


@pytest.fixture
def make(cells: Cells, tmp_path: Path) -> Callable[..., kept.Kept]:
    def finished(cell: Cell, last: float, **config: object) -> kept.Kept:
        cells.take(cell, write_run(tmp_path / "run", cell, last, **config), ["train.py"], "a processor", 33.0)
        return cells.read(cell)

    return finished


def everything(cell: Cell) -> float:
    """An accuracy for every cell; best are the lowest rate for longer, and the first gate of LGCOAMix with γ = 0.1."""
    order = ("search/none-0.003-10", "search/none-0.003-20", "search/lgcoamix-0.25-0.05", "search/lgcoamix-0.25-0.1")
    return 50.0 + (order.index(cell.group) + 1 if cell.group in order else 0)


def test_whole_seeds_of_the_cheap_study_come_first():
    listed = plan(lambda cell: None)
    names = [cell.name for cell in listed]
    assert names[:5] == [f"length/{name}-14-s0" for name in ("none", "cutmix", "superpixel_grid", "lgcoamix")] + [
        "length/none-28-s0"
    ]
    studies = [(cell.study, cell.seed) for cell in listed]
    assert list(dict.fromkeys(studies)) == [
        ("length", 0),
        ("length", 1),
        ("length", 2),
        ("search", 0),
        ("ablation", 0),
        ("ablation", 1),
        ("ablation", 2),
        ("again", 3),
        ("again", 4),
        ("again", 5),
    ]
    longest = [f"length/{name}-224-s{seed}" for seed in (0, 1, 2) for name in ("none", "lgcoamix")]
    assert names[48:54] == longest  # after 4 lengths of 4 methods with 3 seeds
    whole = [cell.group for cell in plan(everything)]
    firsts = ("length/none-224", "birds/lgcoamix", "ablation/grid", "birds/occamix", "ending/birds-snapmix")
    order = [whole.index(group) for group in (*firsts, "again/none", "length-64/none-14")]
    assert order == sorted(order)


def test_the_last_tenth_of_the_epochs_is_unmixed_with_other_methods_and_images():
    whole = {cell.name: cell for cell in plan(everything)}
    ended = [cell for cell in whole.values() if cell.study == "ending"]
    names = ("length-cutmix-56", "length-superpixel_grid-56", "birds-snapmix", "birds-lgcoamix")
    assert [cell.name for cell in ended[:4]] == [f"ending/{name}-s0" for name in names]
    assert len(ended) == 12
    for cell in ended:
        same = whole[f"{cell.against}-s{cell.seed}"]
        plain = {20: 2, 56: 6}[same.settings.optim.epochs]
        assert cell.settings == same.settings.with_assignments([f"optim.plain_epochs={plain}"])
        assert (cell.store, cell.superpixels) == (same.store, same.superpixels)


def test_later_cells_take_what_the_search_found():
    known = {f"search/none-{rate}-10" for rate in (0.003, 0.01, 0.03)}
    first = plan(lambda cell: everything(cell) if cell.group in known else None)
    assert {cell.group for cell in first if cell.study == "search"} == known | {"search/none-0.003-20"}
    known.add("search/none-0.003-20")
    first = plan(lambda cell: everything(cell) if cell.group in known else None)
    assert [cell.group for cell in first if "lgcoamix" in cell.group and cell.study == "search"] == [
        f"search/lgcoamix-{gate}-0.05" for gate in (0.25, 0.5, 1.0)
    ]
    assert not [cell for cell in first if cell.study == "birds"]
    birds = {cell.group: cell.settings for cell in plan(everything) if cell.study == "birds"}
    assert {(each.optim.lr, each.optim.epochs) for each in birds.values()} == {(0.003, 20)}
    assert {each.mixer.mix_prob for name, each in birds.items() if name != "birds/none"} == {0.25}
    assert (birds["birds/lgcoamix"].mixer.gamma_ce, birds["birds/lgcoamix"].mixer.gamma_con) == (0.1, 0.1)
    assert birds["birds/snapmix"].mixer.beta == 5  # that of the published recipe for pretrained networks


def test_the_two_best_at_the_largest_length_are_trained_at_64_pixels():
    def top1(cell: Cell) -> float | None:
        return {"length/cutmix-112": 80.0, "length/lgcoamix-112": 90.0}.get(cell.group, 70.0)

    assert {cell.mixer for cell in plan(top1) if cell.study == "length-64"} == {"none", "cutmix", "lgcoamix"}
    missing = plan(lambda cell: None if cell.name == "length/none-14-s2" else top1(cell))
    assert not [cell for cell in missing if cell.study == "length-64"]


def test_the_parts_that_gained_are_trained_again_with_other_seeds():
    whole = {cell.name: cell for cell in plan(everything)}
    again = [cell for cell in whole.values() if cell.study == "again"]
    against = {"none": "", "lgcoamix": "again/none"} | dict.fromkeys(
        ("lambda-area", "one-scale", "last-6-plain"), "again/lgcoamix"
    )
    assert [(cell.name, cell.against) for cell in again] == [
        (f"again/{name}-s{seed}", base) for seed in (3, 4, 5) for name, base in against.items()
    ]
    for cell in again:
        variant = cell.group.partition("/")[2]
        first = whole[f"length/{variant}-56-s0" if variant in ("none", "lgcoamix") else f"ablation/{variant}-s0"]
        assert (cell.settings, cell.store, cell.superpixels) == (first.settings, first.store, first.superpixels)


def test_the_command_of_every_cell_trains_with_the_settings_of_the_list():
    listed = plan(everything)
    assert len({cell.name for cell in listed}) == len(listed)
    for cell in listed:
        words = list(driver.command(cell, Path("runs/x"))[2:])
        words[1] = str(ROOT / "train.py")  # any file for --shards
        given = train.make_context("train", words).params
        assert choose_settings(None, given) == ("general", cell.settings)
        assert (given["seed"], given["val_fraction"], given["maps"]) == (cell.seed, cell.val_fraction, cell.maps)
        assert given["superpixels"] == cell.superpixels
        assert cell.superpixels in STORES[cell.store].maps
        assert not given["pictures"]
        assert not given["tensorboard"]


def test_a_cell_stands_while_its_settings_are_those_of_the_list(cells, make):
    mine = cell("length/none-2")
    assert not cells.stands(mine)
    make(mine, 60.0)
    assert cells.stands(mine)
    changed = replace(mine, changes=("optim.epochs=3",))
    assert cells.stale(changed) == "settings.optim.epochs is 3 here, 2 in the run"
    assert not cells.stands(changed)
    assert not cells.stands(replace(mine, superpixels="grid-30:40x4"))
    assert not cells.stands(replace(mine, maps="live"))
    assert not cells.stands(replace(mine, val_fraction=0.2))


def test_a_finished_cell_holds_no_path_of_the_machine(cells, make):
    make(cell("length/none-2"), 60.0)
    assert "somebody" not in (cells.home / "length/none-2-s0/config.json").read_text()


def test_other_images_than_those_of_the_finished_cells_are_named(cells, make):
    make(cell("length/none-2"), 60.0)
    other = cell("length/none-2", seed=1)
    assert not cells.other_data(other, {"train/images": "a", "train/grid-9": "z"})
    assert cells.other_data(other, {"train/images": "x"}).startswith("train/images of ")


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Three cells instead of all; a stand-in trains them to 61 %."""
    mine = [cell("length/none-2", seed) for seed in range(3)]
    monkeypatch.setattr(driver, "plan", lambda top1: mine)
    monkeypatch.setattr(driver, "train", lambda cell, say, home: write_run(home / cell.name, cell, 61.0))
    return mine


def test_the_driver_trains_what_is_missing_and_nothing_that_stands(cells, make, listed, monkeypatch):
    make(listed[1], 60.0)
    trained = []

    def train(cell: Cell, _say: object, home: Path) -> Path:
        trained.append(cell.name)
        if trained == ["length/none-2-s0"]:
            raise RunError("exit code 1")
        return write_run(home / cell.name, cell, 61.0)

    monkeypatch.setattr(driver, "train", train)
    assert driver.run_missing(cells, str) == ["length/none-2-s0: exit code 1"]
    assert trained == ["length/none-2-s0", "length/none-2-s2"]
    assert driver.run_missing(cells, str) == []
    assert trained[2:] == ["length/none-2-s0"]
    assert [cells.top1(each) for each in listed] == [61.0, 60.0, 61.0]
    assert not (driver.RUNS / "length/none-2-s2").exists()


def test_a_driver_leaves_a_cell_to_another_and_takes_it_when_that_ends(cells, listed, monkeypatch):
    folder = driver.RUNS / "drivers" / listed[0].name
    folder.mkdir(parents=True)
    other = lock_folder(folder)
    said, naps = [], []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        assert [cells.stands(each) for each in listed] == [False, True, True]
        if len(naps) == 2:
            other.close()

    monkeypatch.setattr(driver.time, "sleep", sleep)
    assert driver.run_missing(cells, said.append) == []
    assert len(naps) == 2
    assert said.count("waiting for another driver, which trains length/none-2-s0") == 1
    assert all(map(cells.stands, listed))


def test_the_seconds_are_those_of_the_core_in_all_parts_of_a_training(cells, listed, monkeypatch):
    def train(cell: Cell, _say: object, home: Path) -> Path:
        # 0.3 s of a core, and waiting
        work = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(0.5)"
        subprocess.run([sys.executable, "-S", "-c", work], check=True)
        if not (home / "begun").exists():
            (home / "begun").touch()
            raise KeyboardInterrupt
        return write_run(home / cell.name, cell, 61.0)

    monkeypatch.setattr(driver, "train", train)
    with pytest.raises(KeyboardInterrupt):
        driver.run_missing(cells, str)
    driver.run_missing(cells, str)
    first, second = (cells.read(each).seconds for each in listed[:2])
    assert 0.6 <= first <= 0.9
    assert 0.3 <= second <= 0.45


def test_a_stale_cell_is_named_and_trained_anew(cells, make, listed):
    for each in listed:
        make(each, 60.0)
    make(listed[2], 60.0, seed=7)
    said = []
    driver.run_missing(cells, said.append)
    assert "length/none-2-s2: stale, trained anew: seed is 2 here, 7 in the run" in said
    assert [cells.top1(each) for each in listed] == [60.0, 60.0, 61.0]


def test_one_cell_anew_says_whether_it_is_the_same(cells, make, listed, monkeypatch):
    for seed, each in enumerate(listed):
        make(each, 60.0 + seed)

    def again(last: float) -> str:
        monkeypatch.setattr(driver, "train", lambda cell, _say, home: write_run(home / cell.name, cell, last))
        return driver.run_anew("length/none-2-s1", cells, str)

    assert again(61.0) == "length/none-2-s1: bit for bit as before, 61.00 %"
    monkeypatch.setattr(driver, "processor", lambda: "another processor")
    assert again(61.5) == (
        "length/none-2-s1: 61.50 % now, on another processor, 61.00 % before, on a processor; "
        "its seeds lie from 60.00 to 62.00 %"
    )
    with pytest.raises(RunError, match="expected the name of a finished cell, got 'length/none-9-s0'; there are: len"):
        driver.run_anew("length/none-9-s0", cells, str)


def test_a_row_has_mean_spread_and_paired_difference(make):
    plain = [make(cell("length/none-2", seed), last) for seed, last in enumerate((70.0, 71.0, 72.0))]
    mixed = [make(cell("length/mix-2", seed, "length/none-2"), last) for seed, last in enumerate((71.0, 73.0, 75.0))]
    found = {each.cell.name: each for each in (*plain, *mixed)}
    lines = tables.table([*plain, *mixed], found).splitlines()
    assert lines[2:] == [
        "| none-2 | 71.0 ± 1.0 |  | 70.0, 71.0, 72.0 |  |  |",
        # differences 1, 2, 3: 2 ± 4.303 / √3
        "| mix-2 | 73.0 ± 2.0 |  | 71.0, 73.0, 75.0 | +2.0 [-0.5, +4.5] | +1.0, +2.0, +3.0 |",
    ]


def test_differences_over_lengths_take_the_mean_of_each_seed(make):
    def made(mixer: str, epochs: int, seed: int, last: float) -> kept.Kept:
        against = "" if mixer == "none" else f"length/none-{epochs}"
        changes = (f"optim.epochs={epochs}",)
        return make(Cell(f"length/{mixer}-{epochs}", seed, "s", "m", mixer, changes, against=against), last)

    plain = [made("none", epochs, seed, 70.0 + seed) for epochs in (14, 56, 112) for seed in (0, 1)]
    cutmix = ((14, 0, 64.0), (56, 0, 71.0), (112, 0, 73.0), (56, 1, 73.0), (112, 1, 76.0))
    mixed = [made("cutmix", *which) for which in cutmix]
    assert tables.over_lengths([*plain, *mixed]).splitlines()[-3:] == [
        "| method | 14 to 112 epochs | 56 to 112 | for each doubling |",
        "| --- | --- | --- | --- |",
        # no seed has all lengths; 1, 3 and 2, 5 have the means 2 and 3.5: 2.75 ± 12.706 · 0.75
        "| cutmix |  | +2.8 [-6.8, +12.3], n = 2 |  |",
    ]
    # Seeds 0 and 1 rise by 1 and by 3 for each doubling: 2 ± 12.706 · √2 / √2. Places near the middle count less.
    plain += [made("none", 28, seed, 70.0 + seed) for seed in (0, 1)]
    rising = [
        *(made("lgcoamix", epochs, 0, 68.0 + place) for place, epochs in enumerate((14, 28, 56, 112))),
        *(made("lgcoamix", *which) for which in ((14, 1, 62.0), (28, 1, 65.5), (56, 1, 67.5), (112, 1, 71 + 1 / 3))),
    ]
    # The means of -2, -1, 0, 1 and of -9, -5.5, -3.5, 1/3; and of their last two.
    assert tables.over_lengths([*plain, *rising]).splitlines()[-1] == (
        "| lgcoamix | -2.5 [-27.3, +22.4], n = 2 | -0.5 [-13.8, +12.7], n = 2 | +2.0 [-10.7, +14.7], n = 2 |"
    )


def test_a_table_begins_with_the_group_that_it_compares_with_and_ends_with_plain_training(make):
    cells = (
        cell("length/none-2"),
        cell("length/whole-2", 0, "length/none-2"),
        cell("ablation/part", 0, "length/whole-2"),
    )
    none, whole, part = (make(each, last) for each, last in zip(cells, (68.0, 70.0, 69.0), strict=True))
    lines = tables.table([part], {each.cell.name: each for each in (none, whole, part)}).splitlines()
    assert lines[2:] == [
        "| length/whole-2 | 70.0 |  | 70.0 |  |  | +2.0 |",
        "| part | 69.0 |  | 69.0 | -1.0 | -1.0 | +1.0 |",
    ]


def test_what_differs_besides_the_method_is_said(make):
    plain, same = make(cell("length/none-2"), 70.0), make(cell("length/mix-2", 0, "length/none-2"), 71.0)
    longer = replace(cell("length/long-2", 0, "length/none-2"), changes=("optim.epochs=3",))
    found = {each.cell.name: each for each in (plain, same, make(longer, 72.0))}
    assert tables.differing(list(found.values()), found) == [
        "length/long-2 and length/none-2 differ in optim.epochs as well."
    ]


def test_the_tables_say_what_is_missing_stale_and_not_in_the_list(cells, make, monkeypatch):
    mine = [cell("length/none-2", seed) for seed in range(3)]
    monkeypatch.setattr(tables, "plan", lambda top1: mine)
    make(mine[0], 60.0)
    make(mine[1], 60.0, seed=7)
    make(cell("length/gone-2"), 60.0)
    text = tables.document(cells)
    assert "1 of the 3 cells that are known by now stand" in text
    assert "- stale: length/none-2-s1: seed is 1 here, 7 in the run" in text
    assert "- not in the list: length/gone-2-s0" in text


def test_the_plot_takes_any_number_of_cells(make):
    one = make(cell("length/none-2"), 70.0)
    assert plot_length([one]).startswith(b"\x89PNG")


def test_each_study_of_lengths_has_its_plot_in_the_document(cells, make, tmp_path, monkeypatch):
    listed = [cell("length/none-2"), cell("length-64/none-2")]
    for module in (tables, study_command):
        monkeypatch.setattr(module, "plan", lambda top1: listed)
    monkeypatch.setattr(study_command, "TABLES", tmp_path / "README.md")
    for each in listed:
        make(each, 70.0)
    study_command.draw(cells)
    shown = re.findall(r"\]\((.*\.png)\)", (tmp_path / "README.md").read_text())
    assert shown == ["length.png", "length-64.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(shown)


@pytest.mark.skipif(not PROOF, reason="trains twice; make proof")
def test_a_real_training_stands_and_is_the_same_anew(cells, flowers_store, monkeypatch):
    changes = ("optim.epochs=1", "model.backbone=resnet10t", "model.weights=none", "data.image_size=32")
    mine = Cell("length/real-1", 0, flowers_store.stem, "slic-c10-12,30", "lgcoamix", changes)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for module in (driver, tables):
        monkeypatch.setattr(module, "plan", lambda top1: [mine])
    monkeypatch.setattr(driver, "HOME", flowers_store.parent)
    monkeypatch.setattr(driver, "_TRAIN", str(ROOT / "train.py"))
    assert driver.run_missing(cells, str) == []
    assert cells.stands(mine)
    assert "length/real-1-s0: bit for bit as before" in driver.run_anew(mine.name, cells, str)


def test_two_drivers_unpack_an_archive_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stores, "_ARCHIVES", tmp_path)
    photo = tmp_path / "photos" / "train" / "iris" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"iris")
    with tarfile.open("photos.tar", "w") as tar:
        tar.add("photos")
    said = []

    def say(text: str) -> None:
        said.append(text)
        time.sleep(0.2)  # the other driver looks meanwhile

    with ThreadPoolExecutor(2) as drivers:
        folders = list(drivers.map(lambda _: stores.unpacked("photos", say), range(2)))
    assert folders == [Path("data/study/raw/photos")] * 2
    assert said == [f"unpacking {tmp_path / 'photos.tar'}"]
    assert [(path.name, path.read_bytes()) for path in folders[0].rglob("*.jpg")] == [("1.jpg", b"iris")]


@pytest.mark.skipif(not PROOF, reason="reads all photographs; make proof")
def test_the_near_copies_are_those_that_duplicates_finds(flowers, tmp_path):
    build = ("build", "folder", "--root", str(flowers), "--out", str(tmp_path / "all.h5"), "--size", "256")
    done = CliRunner().invoke(preprocess, [*build, "--algorithm", "grid", "--segments", "4"])
    assert done.exit_code == 0, done.output
    groups = find_duplicates(Store(tmp_path / "all.h5")).groups
    found = {each.kept.key for each in groups if {"train"} & {copy.image.split for copy in each.copies}}
    assert {key for key in found if key.startswith("test/")} == set(read_exclude_list(ROOT / COPIES))


def test_training_what_is_missing_and_one_anew_are_two_commands():
    done = CliRunner().invoke(study_command.main, ["--run", "--anew", "length/none-14-s0"])
    assert done.exit_code == 2
    assert "--run and --anew: give one of them" in done.output


def test_the_committed_tables_are_those_of_the_committed_cells(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (ROOT / "tests/study/README.md").read_text() == tables.document(Cells()), "run: make study"


def test_committed_cells_are_small_and_hold_no_path_of_a_machine():
    files = [path for path in (ROOT / kept.CELLS).rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {"config.json", "results.json", "metrics.csv", "origin.json"}
    for path in files:
        text = path.read_text()
        rows = text.count("\n") if path.name == "metrics.csv" else 0  # one for each epoch
        assert len(text) < 6000 + 250 * rows
        assert '"/' not in text
