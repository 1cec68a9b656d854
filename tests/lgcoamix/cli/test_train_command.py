"""``train.py`` from a store to a run folder: what is written, and that the seed alone decides it."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image

from lgcoamix.cli import train
from lgcoamix.cli.train import _print_results
from lgcoamix.settings.sections import from_plain
from preprocess.store import Store
from tests.conftest import ROOT
from tests.lgcoamix.nursery import Nursery

# Small, and on one thread, as in this process: the order of floating-point sums depends on their number.
SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", 32, "--batch-size", 12, "--device", "cpu")
EPOCHS = 2


@pytest.fixture(scope="module")
def home(nursery: Nursery, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command has trained LGCOAMix with two workers and defaults for the rest."""
    home = tmp_path_factory.mktemp("home")
    options = (*SMALL, "--epochs", EPOCHS, "--set", "mixer.mix_prob=0.8")
    done = nursery.finish("--shards", flowers_store, *options, cwd=home)
    assert "Traceback" not in done.told()
    assert "top-1" in done.told()
    assert "mixed.png" in done.out.read_text()
    return home


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    return home / "runs" / "flowers-lgcoamix-test_resnet-s0"


def _here(store: Path, out: Path, *options: str) -> Path:
    """Run the command in this process: the same code without another import of torch."""
    plain = ("--workers", "0", "--no-tensorboard", "--no-pictures", "--out", str(out))
    done = CliRunner().invoke(train, ["--shards", str(store), *map(str, SMALL), *plain, *options])
    assert done.exit_code == 0, done.output
    return out


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _weights(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)["model"]


def _same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def _check_pictures(folder: Path) -> None:
    for name in ("curves.png", "mixed.png"):
        with Image.open(folder / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        # Axes and text are grey: photographs, or at least coloured curves, are in it.
        coloured = np.ptp(pixels, axis=2) > 30
        assert coloured.mean() > (0.05 if name == "mixed.png" else 0.0005), name


def test_the_run_folder_holds_what_is_promised_and_nothing_else(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("config.json", "metrics.csv", "timing.csv", "lambdas.csv", "last.pt", "last-1.pt", "best.pt", ".lock"),
        *("curves.png", "mixed.png", "lambda.png", "confusion.png", "per_class.png", "mistakes.png"),
        *("mixed.csv", "lambda.csv", "confusion.csv", "per_class.csv", "mistakes.csv", "results.json", "tensorboard"),
    }
    _check_pictures(folder)


def test_the_configuration_names_the_commit_of_the_source(folder):
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True).stdout.strip() if (ROOT / ".git").exists() else None
    found = json.loads((folder / "config.json").read_text())["commit"]
    assert found is head or head.startswith(found.removesuffix("+"))


def test_metrics_have_one_row_an_epoch_and_no_time(folder):
    rows = _rows(folder)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    wanted = {"lr", "loss", "global", "local", "contrast", "mixed", "lam_area", "lam_attention", "lam_difference"}
    assert wanted | {"test_top1", "test_loss"} <= rows[0].keys()
    assert not [name for name in rows[0] if "second" in name or "time" in name]
    assert all(0 <= float(row["test_top1"]) <= 100 for row in rows)
    with (folder / "timing.csv").open(newline="") as file:
        timings = list(csv.DictReader(file))
    assert len(timings) == EPOCHS
    assert all(float(timing["images_per_second"]) > 0 for timing in timings)


def test_the_configuration_names_settings_store_and_versions(folder, flowers_store):
    config = json.loads((folder / "config.json").read_text())
    document = Store(flowers_store).document
    columns = [
        (f"{split}/{name}", column["content_key"])
        for split, entry in document["splits"].items()
        for name, column in entry["columns"].items()
    ]
    assert len(columns) == 6  # two splits of images and two scales
    assert config["store"]["keys"] == dict(columns)
    assert (config["recipe"], config["seed"], config["workers"]) == ("general", 0, 2)
    assert config["versions"]["torch"] == torch.__version__.split("+")[0]
    assert config["classes"] == ["daisy", "iris", "tulip"]
    settings = from_plain(config["settings"])
    assert settings.mixer.mix_prob == 0.8
    assert (settings.model.backbone, settings.data.image_size, settings.optim.epochs) == ("test_resnet", 32, EPOCHS)


def test_the_last_checkpoint_gives_the_last_test_accuracy_in_a_loop_of_our_own(folder, flowers_store):
    net = timm.create_model("test_resnet", num_classes=3).eval()
    prefix = "backbone.net."
    state = {key.removeprefix(prefix): value for key, value in _weights(folder).items() if key.startswith(prefix)}
    net.load_state_dict(state)
    store = Store(flowers_store)
    images = store.images("test", range(18)).astype(np.uint16)
    # From 64 to 32 pixels: the mean of each 2x2 block, rounded half up.
    halved = (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2] + 2) // 4
    mean, std = (torch.tensor(net.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    right = 0
    with torch.no_grad():
        for picture, label in zip(halved, store.labels("test"), strict=True):
            values = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)
            right += int(net(((values - mean) / std)[None]).argmax()) == label
    assert float(_rows(folder)[-1]["test_top1"]) == pytest.approx(100 * right / 18, abs=1e-4)


def test_results_name_last_best_and_what_it_was_chosen_on(folder):
    results = json.loads((folder / "results.json").read_text())
    tops = [float(row["test_top1"]) for row in _rows(folder)]
    assert results["test_top1"] == {"last": tops[-1], "best": max(tops), "median_of_last_10": sum(tops) / 2}
    assert results["best_chosen_on"] == "test"
    assert results["best_epoch"] == tops.index(max(tops))
    best = torch.load(folder / "best.pt", weights_only=True)
    assert best["epoch"] == results["best_epoch"]
    assert best["chosen_on"] == "test"
    assert json.loads(json.dumps(best["config"])) == json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(("epochs", "shown"), [(9, "–"), (10, "37.50 %")])
def test_a_median_of_ten_epochs_is_shown_where_there_are_ten(epochs, shown, capsys):
    top = {"last": 61.0, "best": 62.0, "median_of_last_10": 37.5}
    about = {"epochs": epochs, "best_epoch": 3, "best_chosen_on": "test", "images_per_second": 8.0, "waiting": 0.0}
    _print_results("try", {"test_top1": top, **about})
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "try" in line)
    assert row.split("│")[6].strip() == shown


def test_workers_change_neither_metrics_nor_weights(folder, flowers_store, tmp_path):
    alone = _here(flowers_store, tmp_path / "alone", "--epochs", str(EPOCHS), "--set", "mixer.mix_prob=0.8")
    assert (alone / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()
    for name in ("last.pt", "best.pt"):
        assert _same_weights(_weights(alone, name), _weights(folder, name))


def test_another_seed_gives_another_run(folder, flowers_store, tmp_path):
    other = _here(flowers_store, tmp_path / "other", "--epochs", "1", "--seed", "1")
    assert _rows(other)[0]["loss"] != _rows(folder)[0]["loss"]
    assert not _same_weights(_weights(other), _weights(folder))


@pytest.mark.parametrize("mixer", ["none", "mixup", "attentive_cutmix", "occamix"])
def test_every_other_method_runs(mixer, flowers_store, tmp_path, extractor):
    options = extractor if mixer == "attentive_cutmix" else {}
    assignments = [part for key, value in options.items() for part in ("--set", f"mixer.{key}={value}")]
    out = _here(flowers_store, tmp_path / mixer, "--epochs", "1", "--mixer", mixer, *assignments)
    (row,) = _rows(out)
    assert (float(row["mixed"]) > 0) == (mixer != "none")
    assert {"lam", "lam_area"} & row.keys() == ({"none": set(), "mixup": {"lam"}}.get(mixer, {"lam_area"}))


def test_with_a_held_out_share_the_best_epoch_is_chosen_on_it(flowers_store, tmp_path):
    out = _here(flowers_store, tmp_path / "val", "--epochs", "2", "--val-fraction", "0.25", "--mixer", "none")
    rows, results = _rows(out), json.loads((out / "results.json").read_text())
    tops = [float(row["val_top1"]) for row in rows]
    assert all(top * 9 / 100 == pytest.approx(round(top * 9 / 100), abs=1e-4) for top in tops)  # 3 of 12 a class
    assert results["best_chosen_on"] == torch.load(out / "best.pt", weights_only=True)["chosen_on"] == "val"
    assert results["best_epoch"] == tops.index(max(tops))
    assert results["test_top1"]["best"] == float(rows[results["best_epoch"]]["test_top1"])
