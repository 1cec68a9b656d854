"""The training step of the engine: what mixing, decoder and local losses cost beside the plain network.

On a GPU: ResNet-50, batch 64 at 224, bf16, channels last, with and without compilation. On a CPU something smaller.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.table import Table

from lgcoamix.data import RunBatches
from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import no_normalisation
from lgcoamix.settings.sections import ComputeSettings, OptimSettings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.optim import make_optimiser
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from tests.benchmarks.common import median_seconds, open_mixer

_K, _N = 40, 200


@dataclass(frozen=True)
class Case:
    """One network and one way to compute it.

    Parameters
    ----------
    steps, repeats : how many steps are timed together, and how often.
    extractor : options of Attentive CutMix.
    """

    backbone: str
    batch: int
    size: int
    compute: ComputeSettings
    steps: int = 4
    repeats: int = 7
    extractor: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timed:
    """Seconds of a step; of the first steps, which compile; their mean loss; bytes of the device at most."""

    step: float
    first: float
    loss: float
    peak: int


def _cases(device: torch.device) -> list[Case]:
    if device.type != "cuda":
        return [Case("resnet18", 8, 128, ComputeSettings())]
    return [Case("resnet50", 64, 224, ComputeSettings("bf16", compile=compiled)) for compiled in (False, True)]


def measure() -> Table:
    """Full steps, forward, backward and optimiser, for every method; all batches are mixed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = Table("step", "method", "ms", "images/s", "of plain", "peak MB", title=f"engine step, {where}")
    for case in _cases(device):
        plain = 0.0
        for name in MIXERS:
            timed = time_step(case, name, device)
            seconds, peak = timed.step, timed.peak
            plain = plain or seconds
            compiled = ", compiled" if case.compute.compile else ""
            what = f"{case.backbone}, {case.batch} at {case.size}, {case.compute.amp}{compiled}"
            rate = f"{case.batch / seconds:.0f}"
            table.add_row(what, name, f"{1e3 * seconds:.1f}", rate, f"{seconds / plain:.2f}", f"{peak / 1e6:.0f}")
    return table


def time_step(case: Case, method: str, device: torch.device) -> Timed:
    """Time one step of a method; all batches are mixed. The same case starts with the same weights."""
    torch.compiler.reset()
    torch.manual_seed(0)
    mixer = open_mixer(method, **(case.extractor if method == "attentive_cutmix" else {}))
    network = LocalGlobalNet(case.backbone, _N, image_size=case.size, local=mixer.needs_local)
    network.to(device, memory_format=torch.channels_last if case.compute.channels_last else None)
    optimiser = make_optimiser(network, OptimSettings(lr=1e-4))
    step = Step(network, mixer, optimiser, no_normalisation(device), Ranks(device), 0, case.compute)
    batches = [_batch(case, device)] * case.steps
    order = RunBatches(case.steps * case.batch, case.batch, seed=0)

    def epoch() -> dict[str, float]:
        progress = Progress(0, 0, Means(), Waiting(device))
        return train_one_epoch(step, batches, order, progress, lambda _: None)  # reads its means: waits for the device

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    loss = epoch()["loss"]
    first = time.perf_counter() - begin
    seconds = median_seconds(epoch, case.repeats) / case.steps
    return Timed(seconds, first, loss, torch.cuda.max_memory_allocated() if device.type == "cuda" else 0)


def _batch(case: Case, device: torch.device) -> Batch:
    rows = torch.arange(case.size) * 6 // case.size
    maps = (rows[:, None] * 6 + rows[None, :]).to(torch.uint8).expand(case.batch, -1, -1)
    images = torch.randint(256, (case.batch, 3, case.size, case.size), dtype=torch.uint8)
    return Batch(images, torch.arange(case.batch) % _N, maps, _K).to(device)
