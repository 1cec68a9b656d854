"""Timing and real pictures for the benchmarks."""

import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from lgcoamix.mixing import MIXERS, AttentiveCutMix, Mixer
from preprocess.images import decode, fit

REAL = Path(os.environ.get("LGCOAMIX_REAL_DATA", "../shared/data"))
_FLOWERS = REAL / "flowers17.tar"


def photographs(count: int, size: int) -> np.ndarray:
    """The first photographs of flowers17, squashed: (count, size, size, 3) uint8 array."""
    if not _FLOWERS.is_file():
        raise SystemExit(f"the benchmarks need {_FLOWERS}; set LGCOAMIX_REAL_DATA to its folder")
    images = []
    with tarfile.open(_FLOWERS) as tar:
        for member in tar:
            if member.name.endswith(".jpg") and len(images) < count:
                images.append(fit(decode(tar.extractfile(member).read()), size))
    return np.stack(images)


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Median time of one call, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def open_mixer(name: str, **options: Any) -> Mixer:
    """The method with its gate open; an extractor has random weights, always the same: they take as long."""
    if name == "none":
        return MIXERS[name]()
    if MIXERS[name] is not AttentiveCutMix:
        return MIXERS[name](mix_prob=1.0, **options)
    with tempfile.TemporaryDirectory() as home, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = Path(home) / "weights.pt"
        torch.save(timm.create_model(options.get("extractor", AttentiveCutMix.extractor)).state_dict(), weights)
        mixer = AttentiveCutMix(mix_prob=1.0, extractor_weights=str(weights), **options)
        mixer.prepare()
    return mixer
