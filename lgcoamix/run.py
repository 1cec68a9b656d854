"""One run: a store and settings in, a folder with a trained, evaluated model out."""

import csv
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lgcoamix.checkpoint import save_checkpoint, write_whole
from lgcoamix.config import Settings, to_plain
from lgcoamix.data import EpochBatches, SuperpixelDataset, hold_out, make_loader, make_transform
from lgcoamix.engine import Statistics, Step, evaluate, train_one_epoch
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.inputs import no_normalisation, pick_device
from lgcoamix.mixing import MIXERS, Mixer
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.backbone import data_statistics
from lgcoamix.pictures import draw_curves, draw_mixed
from lgcoamix.preflight import RunOptions, check, test_split
from lgcoamix.schedules import learning_rate
from lgcoamix.seeding import derive_seed
from preprocess.store import Store

_LAST_EPOCHS = 10  # results name the median of this many last epochs
_PACKAGES = ("torch", "timm", "numpy", "h5py", "albumentations", "opencv-python-headless", "scikit-image", "pillow")


@dataclass(frozen=True)
class Loaders:
    """The run's loaders: training, and every split that is evaluated after each epoch, by name."""

    train: DataLoader
    batches: EpochBatches
    tests: dict[str, DataLoader]


@dataclass(frozen=True)
class Report:
    """How a run tells where it is.

    Parameters
    ----------
    start : called with a description and a number of images when a pass over data begins; returns the function that
        counts finished images.
    say : called with a line of text.
    """

    start: Callable[[str, int], Callable[[int], None]]
    say: Callable[[str], None]


def train(store: Store, settings: Settings, options: RunOptions, report: Report) -> dict[str, Any]:
    """Train, evaluate after every epoch, and write the run folder.

    Returns
    -------
    The results: last, best (and what it was chosen on) and the median of the last 10 epochs.

    Raises
    ------
    SettingsError : settings that do not fit each other or the store.
    RunError : the run folder exists, the store is incomplete or has nothing to evaluate on, the loss is not finite.
    """
    check(store, settings, options)
    device = pick_device(options.device)
    mixer: Mixer = MIXERS[settings.method](**asdict(settings.mixer))
    if mixer.needs_maps and not store.has_maps("train"):
        raise RunError(
            f"{store.path} has no superpixels {store.superpixels.name} for the split 'train'; build them for it, or "
            "choose others with --superpixels"
        )
    if settings.model.weights == "pretrained":
        report.say(f"fetching the weights of {settings.model.backbone}, unless they are in the cache")
    torch.manual_seed(derive_seed("weights", options.seed))
    model = LocalGlobalNet(
        settings.model.backbone,
        len(store.classes),
        settings.model.weights,
        settings.data.image_size,
        local=mixer.needs_maps,
        width=settings.model.width,
        skip=settings.model.skip,
        pool_stem=settings.model.pool_stem,
    )
    _try_input(model, settings)
    model.to(device)
    step = Step(model, mixer, _optimiser(model, settings), _statistics(settings), device, options.seed)
    loaders = _loaders(store, settings, options, mixer.needs_maps, device)
    folder = _RunFolder(options.out, loaders.tests)
    folder.write_config(_describe(store, settings, options, device))
    for epoch in range(settings.optim.epochs):
        _run_epoch(epoch, step, loaders, settings, folder, report)
    results = folder.results()
    draw_curves(folder.rows, options.out / "curves.png", f"{store.name}, {settings.method}, {settings.model.backbone}")
    loaders.batches.epoch = 0
    draw_mixed(step, next(iter(loaders.train)), store.classes, options.out / "mixed.png")
    folder.write_json("results.json", results)
    return results


def _run_epoch(
    epoch: int, step: Step, loaders: Loaders, settings: Settings, folder: "_RunFolder", report: Report
) -> None:
    optim = settings.optim
    loaders.batches.epoch = epoch
    rate = learning_rate(optim.schedule, optim.lr, epoch, optim.epochs)
    advance = report.start(f"epoch {epoch + 1}/{optim.epochs}", loaders.batches.length)
    begin = time.perf_counter()
    trained = train_one_epoch(step, loaders.train, epoch, rate, advance)
    seconds = time.perf_counter() - begin
    row: dict[str, float] = {"epoch": epoch, "lr": rate, **trained}
    begin = time.perf_counter()
    for name, loader in loaders.tests.items():
        measured = evaluate(step.model, loader, step.statistics, step.device)
        row |= {f"{name}_{key}": value for key, value in measured.items()}
    timing = {
        "epoch": epoch,
        "train_seconds": seconds,
        "images_per_second": loaders.batches.length / seconds,
        "test_seconds": time.perf_counter() - begin,
    }
    state = {"model": step.model.state_dict(), "config": folder.config, "epoch": epoch, "metrics": row}
    folder.finish_epoch(row, timing, state)
    tops = ", ".join(f"{name} top-1 {row[f'{name}_top1']:.2f} %" for name in loaders.tests)
    report.say(
        f"epoch {epoch + 1}/{optim.epochs}: loss {row['loss']:.4f}, {tops}, {timing['images_per_second']:.0f} images/s"
    )


class _RunFolder:
    """The files of a run, and what they hold so far."""

    def __init__(self, path: Path, tests: dict[str, DataLoader]) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.timings: list[dict[str, float]] = []
        self.config: dict[str, Any] = {}
        self.chosen_on = next(iter(tests))  # validation comes first where there is one

    def write_config(self, config: dict[str, Any]) -> None:
        self.config = config
        self.write_json("config.json", config)

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        write_whole(self.path / name, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())

    def finish_epoch(self, row: dict[str, float], timing: dict[str, float], state: dict[str, Any]) -> None:
        """Write the tables and checkpoints of a finished epoch."""
        best_before = max((row[f"{self.chosen_on}_top1"] for row in self.rows), default=-1.0)
        self.rows.append(row)
        self.timings.append(timing)
        state["chosen_on"] = self.chosen_on
        save_checkpoint(self.path / "last.pt", state)
        if row[f"{self.chosen_on}_top1"] > best_before:
            save_checkpoint(self.path / "best.pt", state)
        self._write_table("metrics.csv", self.rows)
        self._write_table("timing.csv", self.timings)

    def results(self) -> dict[str, Any]:
        """Last, best and median of the last epochs, for every evaluated split."""
        best = max(self.rows, key=lambda row: row[f"{self.chosen_on}_top1"])  # the first of equals
        speeds = [timing["images_per_second"] for timing in self.timings]
        names = [key for key in best if key.endswith("_top1")]
        return {
            name: {
                "last": self.rows[-1][name],
                "best": best[name],
                "median_of_last_10": statistics.median(row[name] for row in self.rows[-_LAST_EPOCHS:]),
            }
            for name in names
        } | {
            "best_epoch": best["epoch"],
            "best_chosen_on": self.chosen_on,
            "epochs": len(self.rows),
            "images_per_second": statistics.median(speeds),
            "lam_difference": self.rows[-1].get("lam_difference"),
        }

    def _write_table(self, name: str, rows: list[dict[str, float]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        aside = self.path / f".{name}.tmp"
        with aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        aside.replace(self.path / name)


def _loaders(store: Store, settings: Settings, options: RunOptions, maps: bool, device: torch.device) -> Loaders:
    transforms = {train: make_transform(settings.data, train, store.sentinel) for train in (True, False)}
    pin = device.type == "cuda"
    train = SuperpixelDataset(store, "train", transforms[True], options.seed, maps)
    held = None
    if options.val_fraction:
        kept, held = hold_out(train.labels.numpy(), options.val_fraction)
        if not len(held) or not len(kept):
            raise RunError(f"--val-fraction {options.val_fraction:g} leaves no samples on one side; choose another")
        train = SuperpixelDataset(store, "train", transforms[True], options.seed, maps, kept)
    batch_size = settings.optim.batch_size
    batches = EpochBatches(len(train), batch_size, options.seed)

    def test_loader(split: str, subset: object = None) -> DataLoader:
        dataset = SuperpixelDataset(store, split, transforms[False], maps=False, subset=subset)
        return make_loader(dataset, EpochBatches(len(dataset), batch_size, None), options.workers, pin)

    tests = {"val": test_loader("train", held)} if held is not None else {}
    split = test_split(store)
    if split:
        tests["test"] = test_loader(split)
    return Loaders(make_loader(train, batches, options.workers, pin), batches, tests)


@torch.no_grad()
def _try_input(model: LocalGlobalNet, settings: Settings) -> None:
    """Send one empty image through the network: some refuse their input only then, each with an error of its own."""
    size = settings.data.image_size
    regions = None if model.decoder is None else torch.zeros(1, size, size, dtype=torch.long)
    try:
        model.eval()(torch.zeros(1, 3, size, size), regions, 1)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise SettingsError(f"{settings.model.backbone} cannot take inputs of {size}x{size}: {reason}") from error


def _optimiser(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    optim = settings.optim
    return torch.optim.SGD(
        model.parameters(),
        optim.lr,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        nesterov=optim.nesterov,
    )


def _statistics(settings: Settings) -> Statistics:
    if settings.data.normalise == "none":
        return no_normalisation()
    return data_statistics(settings.model.backbone)


def _describe(store: Store, settings: Settings, options: RunOptions, device: torch.device) -> dict[str, Any]:
    return {
        "recipe": options.recipe,
        "settings": to_plain(settings),
        "seed": options.seed,
        "val_fraction": options.val_fraction,
        "test_split": test_split(store),  # what the tables call "test"
        "workers": options.workers,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "store": {
            "path": str(store.path),
            "name": store.name,
            "dataset": store.dataset,
            "superpixels": store.superpixels.name,
            "keys": store.content_keys,
        },
        "classes": list(store.classes),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the source tree, with "+" where it has changes; None for an installed package."""
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    command = ["git", "-C", str(home), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
