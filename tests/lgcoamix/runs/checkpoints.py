"""Checkpoints with random weights, for tests of what happens after a training."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from lgcoamix.models import LocalGlobalNet
from lgcoamix.runs.checkpoint import save_checkpoint
from lgcoamix.settings.sections import Settings, to_plain

IMAGES = {"size": 64, "resize": "squash", "codec": "raw", "pillow": "11.0.0"}


def random_state(settings: Settings, count: int, seed: int = 0) -> dict[str, Tensor]:
    """State of a run's network. Nothing is zero: fresh networks may give the same logits for all images."""
    with torch.random.fork_rng():  # whatever ran before in this process
        torch.manual_seed(seed)
        net = LocalGlobalNet.of(settings, count, "none")
    generator = torch.Generator().manual_seed(seed)

    def noisy(name: str, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        noise = torch.rand(value.shape, generator=generator) - (0.0 if name.endswith("running_var") else 0.5)
        return value + 0.2 * noise

    return {name: noisy(name, value) for name, value in net.state_dict().items()}


def describe(settings: Settings, classes: tuple[str, ...], images: dict[str, Any] = IMAGES) -> dict[str, Any]:
    """A run's ``config.json``."""
    keys = {"train/images": "0123456789abcdef", "test/images": "fedcba9876543210"}
    return {
        "recipe": "general",
        "settings": to_plain(settings),
        "seed": 7,
        "val_fraction": 0.0,
        "test_split": "test",
        "classes": list(classes),
        "store": {
            "path": "/home/somebody/secret/flowers.h5",
            "name": "flowers",
            "dataset": "folder",
            "images": images,
            "samples": {"train": 36, "test": 18},
            "superpixels": "slic-c10-12,30",
            "keys": keys,
        },
        "versions": {"torch": str(torch.__version__), "timm": timm.__version__},
        "hardware": "a machine",
        "commit": "0123456789ab",
    }


def write_checkpoint(
    path: Path, settings: Settings, classes: tuple[str, ...], images: dict[str, Any] = IMAGES, **changes: Any
) -> Path:
    """Save what ``best.pt`` holds; ``changes`` replace entries."""
    content = {
        "model": random_state(settings, len(classes)),
        "model_ema": None,
        "config": describe(settings, classes, images),
        "epoch": 7,
        "metrics": {"epoch": 7, "test_top1": 61.25, "test_loss": 1.5},
        "chosen_on": "test",
    }
    save_checkpoint(path, content | changes)
    return path
