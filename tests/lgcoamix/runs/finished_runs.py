"""Folders of finished runs, written as JSON; nothing is trained."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "recipe": "general",
    "settings": {
        "method": "none",
        "mixer": {},
        "data": {"image_size": 64, "crop": "resized", "scale": [0.35, 1.0], "flip": 0.5, "test": "resize"},
        "model": {"backbone": "resnet18", "weights": "none", "width": 64},
        "optim": {"epochs": 24, "batch_size": 32, "lr": 0.02, "nesterov": False},
        "compute": {"amp": "off", "channels_last": False, "compile": False},
    },
    "seed": 0,
    "val_fraction": 0.0,
    "test_split": "test",
    "workers": 0,
    "device": "cpu",
    "threads": 1,
    "store": {
        "path": "data/flowers.h5",
        "name": "flowers",
        "dataset": "folder",
        "superpixels": "slic-c10-30",
        "keys": {"train/images": "11", "train/slic-c10-30": "22", "test/images": "33", "test/slic-c10-30": "44"},
    },
    "classes": ["daisy", "iris", "tulip"],
    "versions": {"python": "3.11.7", "torch": "2.6.0", "timm": "1.0.15"},
    "commit": "0123456789ab",
}
LGCOAMIX = {"mix_prob": 0.5, "select_prob": 0.5, "score": "sum"}

Edit = Callable[[dict[str, Any], dict[str, Any]], object]


def finished_run(folder: Path, method: str, seed: int, last: float, edit: Edit | None = None, **figures: float) -> Path:
    """Write a finished run; the best epoch has 1 more than the last, the median 1 less, unless given."""
    config = deepcopy(CONFIG)
    config["settings"] |= {"method": method, "mixer": dict(LGCOAMIX) if method == "lgcoamix" else {}}
    config["seed"] = seed
    top = {"last": last, "best": last + 1, "median_of_last_10": last - 1} | figures
    results = {"test_top1": top, "best_epoch": 7, "best_chosen_on": "test", "epochs": 24, "images_per_second": 100.5}
    if edit:
        edit(config, results)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))
    return folder
