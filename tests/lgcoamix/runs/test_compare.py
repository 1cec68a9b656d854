"""``compare``: groups over seeds with figures worked out by hand, and what it refuses to put side by side.

The run folders are written here, as JSON; nothing is trained.
"""

import csv
import errno
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lgcoamix.cli import main
from tests.conftest import Run
from tests.lgcoamix.runs.finished_runs import CONFIG, Edit
from tests.lgcoamix.runs.finished_runs import finished_run as _run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three groups: none 60, 62, 64 (62 ± 2), lgcoamix 71, 68, 65 (68 ± 3), cutmix 50 alone."""
    home = tmp_path / "runs"
    for seed, last in enumerate((60, 62, 64)):
        _run(home / f"none-s{seed}", "none", seed, last)
    for seed, last in enumerate((71, 68, 65)):
        _run(home / f"lgcoamix-s{seed}", "lgcoamix", seed, last)
    _run(home / "cutmix-s5", "cutmix", 5, 50, best=90, median_of_last_10=47.25)
    return home


def _compare(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def _rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables, without their heads."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]


def _words(text: str) -> str:
    return " ".join(text.split())


def test_groups_show_mean_and_sample_deviation_best_first(runs):
    done = _compare(*sorted(runs.iterdir()))
    assert done.exit_code == 0, done.output
    assert _rows(done.stdout) == [
        # differences 11, 6, 1: 6 ± 4.303 · 5 / √3; t² = 4.32 with two degrees of freedom: p = 1 - √(4.32 / 6.32)
        ["lgcoamix", "3 (0, 1, 2)", "68.00 ± 3.00", "69.00 ± 3.00", "67.00 ± 3.00", "+6.00 [-6.42, +18.42]", "0.173"],
        ["none", "3 (0, 1, 2)", "62.00 ± 2.00", "63.00 ± 2.00", "61.00 ± 2.00", "", ""],
        ["cutmix", "1 (5)", "50.00 ± -", "90.00 ± -", "47.25 ± -", "", ""],
    ]
    assert "last, against none: mean difference paired by seed, with its 95 % interval of Student's t" in done.stdout
    assert "no difference, for want of a common seed: cutmix\n" in done.stdout
    assert "best (chosen on test)" in done.stdout
    assert "sample standard deviation over seeds" in _words(done.stdout)
    assert "With few seeds" in done.stdout
    assert done.stderr == ""


def test_deviation_is_that_of_a_sample(tmp_path):
    for seed, last in enumerate((10, 10, 10, 18)):  # mean 12; squares 4 + 4 + 4 + 36 = 48; 48 / 3 = 16
        _run(tmp_path / "runs" / f"s{seed}", "none", seed, last)
    assert _rows(_compare(tmp_path / "runs").stdout)[0][2] == "12.00 ± 4.00"


@pytest.mark.parametrize(
    ("metric", "order"),
    [("best", ["cutmix", "lgcoamix", "none"]), ("median_of_last_10", ["lgcoamix", "none", "cutmix"])],
)
def test_the_metric_decides_the_order(metric, order, runs):
    done = _compare(runs, "--metric", metric)
    assert [row[0] for row in _rows(done.stdout)] == order


def _set(section: str, key: str, value: object) -> Edit:
    return lambda config, _: config["settings"][section].__setitem__(key, value)


def _top(key: str, value: object) -> Edit:
    return lambda config, _: config.__setitem__(key, value)


def _store(key: str, value: object) -> Edit:
    return lambda config, _: config["store"].__setitem__(key, value)


def _other_split(config: dict, _: dict) -> None:
    config["test_split"] = "val"
    config["store"]["keys"]["val/images"] = "33"


PROTOCOLS: dict[str, tuple[Edit, str, str, str]] = {
    "training images": (lambda c, _: c["store"]["keys"].update({"train/images": "99"}), "training images", "11", "99"),
    "test images": (lambda c, _: c["store"]["keys"].update({"test/images": "98"}), "test images", "33", "98"),
    "test split": (_other_split, "test_split", "test", "val"),
    "classes": (_top("classes", ["daisy", "iris", "rose"]), "classes", "only here tulip", "only here rose"),
    "order of classes": (_top("classes", ["iris", "daisy", "tulip"]), "classes", "3 names [1]", "3 names [2]"),
    "fewer classes": (_top("classes", ["daisy", "iris"]), "classes", "only here tulip", '["daisy", "iris"]'),
    "data": (_set("data", "flip", 0.0), "data.flip", "0.5", "0.0"),
    "a pair of data": (_set("data", "scale", [0.08, 1.0]), "data.scale", "[0.35, 1.0]", "[0.08, 1.0]"),
    "model": (_set("model", "backbone", "resnet34"), "model.backbone", "resnet18", "resnet34"),
    "optim": (_set("optim", "lr", 0.01), "optim.lr", "0.02", "0.01"),
    "compute": (_set("compute", "amp", "bf16"), "compute.amp", "off", "bf16"),
    "an option of a newer version": (_set("optim", "ema", 0.999), "optim.ema", "not recorded", "0.999"),
    "no compute section": (lambda c, _: c["settings"].pop("compute"), "compute.compile", "false", "not recorded"),
    "val fraction": (_top("val_fraction", 0.1), "val_fraction", "0.0", "0.1"),
    "best chosen on": (lambda _, r: r.update(best_chosen_on="val"), "best_chosen_on", "test", "val"),
}


@pytest.mark.parametrize(("edit", "path", "value", "other"), PROTOCOLS.values(), ids=PROTOCOLS)
def test_runs_of_two_protocols_are_refused_and_the_difference_is_named(edit, path, value, other, runs):
    odd = _run(runs / "odd", "cutmix", 6, 55, edit)
    done = _compare(runs)
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"  {path}: ")]
    mine, theirs = line.split(", ".join(map(str, sorted(runs.iterdir())[:3])))  # the runs that have the first value
    assert value in mine
    assert "and 4 more" in theirs
    assert other in theirs
    assert f"({odd})" in theirs
    assert "--across-protocols" in done.stderr


ALIKE: dict[str, Edit] = {
    "workers": _top("workers", 7),
    "threads": _top("threads", 9),
    "store path": _store("path", "elsewhere.h5"),
    "store name": _store("name", "copy"),
    "python": lambda c, _: c["versions"].update(python="3.12.1"),
    "superpixels of another method": lambda c, _: c["store"].update(
        superpixels="grid-50", keys={"train/images": "11", "train/grid-50": "5", "test/images": "33"}
    ),
    "speed": lambda _, r: r.update(images_per_second=1),
}


@pytest.mark.parametrize("edit", ALIKE.values(), ids=ALIKE)
def test_what_decides_no_figure_is_no_other_protocol(edit, tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60)
    _run(tmp_path / "runs" / "b", "cutmix", 0, 64, edit)
    done = _compare(tmp_path / "runs")
    assert done.exit_code == 0, done.stderr
    assert [row[0] for row in _rows(done.stdout)] == ["cutmix", "none"]
    assert done.stderr == ""


def _stored(size: int, resize: str, key: str) -> Edit:
    def edit(config: dict, _: dict) -> None:
        config["store"]["images"] = {"size": size, "resize": resize, "codec": "raw", "pillow": "11"}
        config["store"]["keys"]["train/images"] = key

    return edit


def test_runs_of_one_recipe_on_different_stores_are_told_apart_in_words(tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60, _stored(256, "squash", "11"))
    _run(tmp_path / "runs" / "b", "none", 1, 60, _stored(512, "short", "12"))
    done = _compare(tmp_path / "runs")
    assert done.exit_code == 1
    assert f"stored images: 256x256 ({tmp_path}/runs/a), short side 512 ({tmp_path}/runs/b)" in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("weights", "tv_in1k", "model.weights: none (RUNS/a), tv_in1k (RUNS/b)"),
        ("init", "released", "model.init: timm (RUNS/a), released (RUNS/b)"),
    ],
)
def test_other_weights_and_another_start_are_another_protocol(key, value, told, tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60)  # of a version without model.init
    _run(tmp_path / "runs" / "b", "none", 1, 60, _set("model", key, value))
    done = _compare(tmp_path / "runs")
    assert done.exit_code == 1
    assert told.replace("RUNS", f"{tmp_path}/runs") in done.stderr


def test_the_protocol_stands_below_the_table(tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60, _stored(256, "squash", "11"))
    done = _compare(tmp_path / "runs")
    assert (
        "protocol: from scratch; stored 256x256, input 64, tested on the whole image; 24 epochs; split: test; "
        "best epoch: chosen on test\n" in done.stdout
    )


def test_across_protocols_groups_stay_apart_and_a_legend_tells_them(runs):
    _run(runs / "slow-s0", "none", 0, 80, _set("optim", "lr", 0.01))
    _run(runs / "slow-s1", "none", 1, 84, _set("optim", "lr", 0.01))
    done = _compare(runs, "--across-protocols")
    assert done.exit_code == 0, done.stderr
    assert [(row[0], row[1], row[2], row[3][:5]) for row in _rows(done.stdout)] == [
        ("none", "B", "2 (0, 1)", "82.00"),
        ("lgcoamix", "A", "3 (0, 1, 2)", "68.00"),
        ("none", "A", "3 (0, 1, 2)", "62.00"),
        ("cutmix", "A", "1 (5)", "50.00"),
    ]
    assert "82.00 ± 2.83" in done.stdout  # squares 4 + 4, over 1: √8
    assert "protocol A: optim.lr 0.02\nprotocol B: optim.lr 0.01\n" in done.stdout
    assert "\nprotocol A, B: from scratch; " in done.stdout  # in words, the rates are not told apart


def _option(name: str, value: object) -> Edit:
    return lambda config, _: config["settings"]["mixer"].__setitem__(name, value)


def test_options_name_a_group_where_they_differ_and_nowhere_else(runs):
    for seed in (0, 1):
        _run(runs / f"pre-s{seed}", "lgcoamix", seed, 40, _option("score", "pre_norm"))
    labels = [row[:2] for row in _rows(_compare(runs).stdout)]
    assert labels == [
        ["lgcoamix (score=sum)", "3 (0, 1, 2)"],
        ["none", "3 (0, 1, 2)"],
        ["cutmix", "1 (5)"],
        ["lgcoamix (score=pre_norm)", "2 (0, 1)"],
    ]


def test_superpixels_name_a_group_of_a_method_where_they_differ(runs):
    _run(runs / "grid", "lgcoamix", 0, 90, _store("superpixels", "grid-50"))
    assert [row[0] for row in _rows(_compare(runs).stdout)] == [
        "lgcoamix (superpixels=grid-50)",
        "lgcoamix (superpixels=slic-c10-30)",
        "none",
        "cutmix",
    ]


def test_recipes_stay_apart(tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60)
    _run(tmp_path / "runs" / "b", "none", 0, 62, _top("recipe", "demo"))
    assert [row[0] for row in _rows(_compare(tmp_path / "runs").stdout)] == ["demo: none", "general: none"]


def test_one_seed_twice_is_refused_and_both_runs_are_named(runs):
    again = _run(runs / "none-again", "none", 1, 62)
    done = _compare(runs)
    assert done.exit_code == 1
    assert str(again) in done.stderr
    assert str(runs / "none-s1") in done.stderr
    assert "seed 1" in done.stderr


def test_a_folder_that_is_given_twice_counts_once(runs):
    done = _compare(runs, runs / "none-s0", runs / "none-s1" / ".." / "none-s1")
    assert done.exit_code == 0, done.stderr
    assert _rows(done.stdout)[1][1] == "3 (0, 1, 2)"


def test_an_accuracy_is_a_percentage(runs):
    _run(runs / "none-s7", "none", 7, 1e308)
    done = _compare(runs)
    assert done.exit_code == 0
    assert "test_top1.last: expected a number of at least 0 and of at most 100, got 1e+308" in done.stderr


def test_unfinished_and_foreign_folders_are_left_out_aloud(runs):
    (runs / "cutmix-s5" / "results.json").unlink()
    (runs / "notes").mkdir()
    (runs / "none-s2" / "results.json").write_text('{"test_top1": {"last": 6')
    (runs / "lgcoamix-s2" / "results.json").write_text(
        '{"test_top1": {"last": NaN, "best": 1, "median_of_last_10": 1}, "best_chosen_on": "test"}'
    )
    (runs / "compare.png").write_text("a file among the folders")
    done = _compare(*sorted(runs.iterdir()))
    assert done.exit_code == 0, done.stderr
    assert [row[:2] for row in _rows(done.stdout)] == [["lgcoamix", "2 (0, 1)"], ["none", "2 (0, 1)"]]
    unfinished, foreign = done.stderr.splitlines()
    assert unfinished == f"warning: left out, not finished: {runs / 'cutmix-s5'}"
    assert foreign.startswith("warning: left out, not a run: ")
    assert f"{runs / 'notes'} (no config.json)" in foreign
    assert f"{runs / 'none-s2'} (" in foreign
    assert f"{runs / 'lgcoamix-s2'} ({runs / 'lgcoamix-s2' / 'results.json'} is damaged: it is not JSON: NaN" in foreign


def test_weights_of_other_bytes_are_another_protocol_and_a_moved_file_is_none(tmp_path):
    def start(path: str, digest: str) -> Edit:
        def edit(config: dict[str, Any], _: object) -> None:
            config["settings"]["model"]["weights"] = path
            config["digests"] = {"model.weights": digest * 64}

        return edit

    _run(tmp_path / "a", "none", 0, 60, start("first.pt", "a"))
    _run(tmp_path / "b", "none", 1, 61, start("moved.pt", "a"))
    assert _compare(tmp_path).exit_code == 0
    _run(tmp_path / "c", "none", 2, 62, start("first.pt", "b"))
    done = _compare(tmp_path)
    assert done.exit_code == 1
    assert re.search(f"model.weights: sha256 {'a' * 64} .* sha256 {'b' * 64} ", _words(done.stderr))


CONFIGS = {
    "a list": "[]",
    "another program's": '{"name": "x"}',
    "no JSON": "{",
    "a text for settings": '{"settings": 1}',
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_foreign_configuration_is_no_run(text, runs):
    (runs / "none-s0" / "config.json").write_text(text)
    done = _compare(runs)
    assert done.exit_code == 0, done.stderr
    assert f"not a run: {runs / 'none-s0'} (" in done.stderr
    assert _rows(done.stdout)[1][1] == "2 (1, 2)"


def test_nothing_finished_is_a_failure_that_says_what_was_found(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(CONFIG))
    done = _compare(tmp_path / "run", tmp_path)
    assert done.exit_code == 1
    assert f"found none; left out, not finished: {tmp_path / 'run'}" in _words(done.stderr)
    assert _compare(tmp_path / "missing").exit_code == 2
    assert _compare().exit_code == 2


def test_folders_of_runs_stand_for_their_runs(runs, tmp_path):
    _run(tmp_path / "more" / "none-s3", "none", 3, 62)
    done = _compare(runs, tmp_path / "more")
    assert _rows(done.stdout)[1][:2] == ["none", "4 (0, 1, 2, 3)"]


def test_a_validation_share_has_a_table_of_its_own(tmp_path):
    def held_out(top: float) -> Edit:
        def edit(config: dict, results: dict) -> None:
            config["val_fraction"] = 0.1
            results["val_top1"] = {"last": top, "best": top, "median_of_last_10": top}
            results["best_chosen_on"] = "val"

        return edit

    _run(tmp_path / "runs" / "a", "none", 0, 60, held_out(10))
    _run(tmp_path / "runs" / "b", "none", 1, 62, held_out(14))
    _run(tmp_path / "runs" / "c", "cutmix", 0, 20, held_out(80))
    done = _compare(tmp_path / "runs")
    said = " ".join(done.stdout.split())
    assert "best: the epoch chosen on images held out of train." in said
    assert said.index("on the split test") < said.index("(%) on images held out of train")
    assert [row[:3] for row in _rows(done.stdout)] == [
        ["none", "2 (0, 1)", "61.00 ± 1.41"],  # squares 1 + 1, over 1: √2
        ["cutmix", "1 (0)", "20.00 ± -"],
        ["cutmix", "1 (0)", "80.00 ± -"],
        ["none", "2 (0, 1)", "12.00 ± 2.83"],
    ]


def test_runs_without_a_test_split_are_compared_on_what_they_have(tmp_path):
    def no_test(config: dict, results: dict) -> None:
        config["test_split"] = None
        results["val_top1"] = results.pop("test_top1")
        results["best_chosen_on"] = "val"

    _run(tmp_path / "runs" / "a", "none", 0, 60, no_test)
    done = _compare(tmp_path / "runs", "--out", tmp_path / "out")
    assert _rows(done.stdout) == [["none", "1 (0)", "60.00 ± -", "61.00 ± -", "59.00 ± -"]]
    assert "top-1 (%) on images held out of train" in done.stdout
    assert "split test" not in done.stdout


WARNED: dict[str, tuple[Edit, str]] = {
    "torch": (lambda c, _: c["versions"].update(torch="2.7.0"), r"torch: 2.6.0 ({a}), 2.7.0 ({b})"),
    "timm": (lambda c, _: c["versions"].update(timm="1.0.16"), r"timm: 1.0.15 ({a}), 1.0.16 ({b})"),
    "device": (_top("device", "cuda:0"), r"device: cpu ({a}), cuda ({b})"),
    "processes": (_top("world", 4), r"processes: 1 ({a}), 4 ({b})"),
    "commit": (_top("commit", "ba9876543210+"), r"commit: 0123456789ab ({a}), ba9876543210+ ({b})"),
    "no commit": (_top("commit", None), r"commit: 0123456789ab ({a}), null ({b})"),
    "maps": (
        lambda c, _: c["store"]["keys"].update({"train/slic-c10-30": "77"}),
        r"lgcoamix was trained with maps of the same name but different content: train/slic-c10-30: 22 ({a}), 77 ({b})",
    ),
}


@pytest.mark.parametrize(("edit", "line"), WARNED.values(), ids=WARNED)
def test_other_surroundings_are_a_warning(edit, line, tmp_path):
    a = _run(tmp_path / "runs" / "a", "lgcoamix", 0, 60)
    b = _run(tmp_path / "runs" / "b", "lgcoamix", 1, 62, edit)
    done = _compare(tmp_path / "runs")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == f"warning: {line.format(a=a, b=b)}\n"
    assert _rows(done.stdout)[0][1] == "2 (0, 1)"


def test_one_kind_of_device_is_no_difference(tmp_path):
    _run(tmp_path / "runs" / "a", "none", 0, 60, _top("device", "cuda:0"))
    _run(tmp_path / "runs" / "b", "none", 1, 62, _top("device", "cuda:1"))
    assert _compare(tmp_path / "runs").stderr == ""


def test_the_written_files_hold_every_run_every_group_and_a_picture(runs, tmp_path):
    _run(runs / "slow", "none", 0, 80, _set("optim", "lr", 0.01))
    out = tmp_path / "out"
    done = _compare(runs, "--out", out, "--across-protocols")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["compare.png", "comparison.csv", "comparison.json"]
    with (out / "comparison.csv").open(newline="") as file:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 8
    picked = {"group": "cutmix", "recipe": "general", "method": "cutmix", "seed": "5", "protocol": "A"}
    figures = {"test_top1.last": "50", "test_top1.best": "90", "test_top1.median_of_last_10": "47.25"}
    others = {"best_epoch": "7", "best_chosen_on": "test", "epochs": "24", "images_per_second": "100.5"}
    assert picked.items() | figures.items() | others.items() <= rows["cutmix-s5"].items()
    assert rows["cutmix-s5"]["mixer.score"] == ""
    assert rows["lgcoamix-s1"]["mixer.score"] == "sum"
    assert rows["slow"]["protocol"] == "B"
    document = json.loads((out / "comparison.json").read_text())
    assert [group["group"] for group in document["groups"]] == ["none", "lgcoamix", "none", "cutmix"]
    assert document["groups"][1]["test_top1"]["last"] == {"mean": 68, "deviation": 3}
    assert document["groups"][1]["seeds"] == [0, 1, 2]
    assert document["groups"][3]["test_top1"]["best"] == {"mean": 90, "deviation": None}
    assert document["differences"] == ["optim.lr"]
    assert [document["protocols"][letter]["optim.lr"] for letter in "AB"] == [0.02, 0.01]
    assert _coloured(out / "compare.png") > 0.01


def _coloured(path: Path) -> float:
    """Share of pixels that are neither white nor grey: axes and text are."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return float((np.ptp(pixels, axis=2) > 30).mean())


@pytest.mark.parametrize("groups", [1, 12])
def test_the_picture_grows_with_the_groups(groups, tmp_path):
    for number in range(groups):
        for seed in range(2):
            edit = _option("select_prob", number / 20)
            _run(tmp_path / "runs" / f"g{number}-s{seed}", "lgcoamix", seed, 50 + 3 * number + 2 * seed, edit)
    done = _compare(tmp_path / "runs", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert _coloured(tmp_path / "out" / "compare.png") > 0.005
    with Image.open(tmp_path / "out" / "compare.png") as picture:
        assert picture.width > 1000
        assert picture.height > 25 * groups


def test_a_comparison_is_replaced_and_other_folders_are_not_touched(runs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert _compare(runs, "--out", out).exit_code == 0
    assert _compare(runs / "none-s0", "--out", out).exit_code == 0
    assert len(json.loads((out / "comparison.json").read_text())["groups"]) == 1

    for name, text in (("notes.txt", "mine"), ("comparison.csv", "mine"), ("comparison.json", '{"my": "own"}')):
        foreign = tmp_path / f"foreign-{name}"
        foreign.mkdir()
        (foreign / name).write_text(text)
        done = _compare(runs, "--out", foreign)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert f"holds {name}, which is no part of a comparison" in _words(done.stderr)
        assert [path.name for path in foreign.iterdir()] == [name]
        assert (foreign / name).read_text() == text
    done = _compare(runs, "--out", tmp_path / "foreign-notes.txt" / "notes.txt")
    assert done.exit_code == 2
    assert "is a file" in done.stderr


def test_a_full_disk_is_told_with_its_remedy_and_leaves_nothing(runs, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = _compare(runs, "--out", tmp_path / "new" / "out")
    assert done.exit_code == 1
    assert re.search(r"/new/out/comparison\.\w+: No space left on device; free space on that disk", _words(done.stderr))
    assert not (tmp_path / "new").exists()


def test_an_unknown_metric_is_a_usage_error(runs):
    assert _compare(runs, "--metric", "first").exit_code == 2


def test_comparing_imports_neither_torch_nor_without_out_matplotlib(run: Run, runs):
    script = (
        "import sys\nfrom lgcoamix.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print('exit', end.code, *(name in sys.modules for name in ('torch', 'timm', 'matplotlib', 'h5py')))"
    )
    done = run("-c", script, "compare", runs)
    assert "exit 0 False False False False" in done.stdout, done.stderr
    assert "68.00 ± 3.00" in done.stdout
