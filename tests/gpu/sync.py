"""No step waits for the device: torch raises at the first operation that does."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lgcoamix.data import RunBatches
from lgcoamix.mixing import Mixer
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import make_statistics
from lgcoamix.settings.sections import ComputeSettings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from tests.gpu.setup import squares

_BATCH, _CLASSES = 8, 4


@contextmanager
def waiting_raises(device: torch.device) -> Iterator[None]:
    """Let an operation that makes the host wait for CUDA raise an error; on a CPU there is nothing to wait for."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(device: torch.device) -> str:
    """What a pass without an error says."""
    return "none" if device.type == "cuda" else "not looked for: a CPU has none"


def steps_without_waiting(
    mixer: Mixer, backbone: str, device: torch.device, compute: ComputeSettings, steps: int = 10
) -> int:
    """Train some steps, twice; in the second pass all but the first may not wait. Return their number.

    Raises
    ------
    RuntimeError : an operation waits for the device; its traceback says which.
    """
    network = LocalGlobalNet(backbone, _CLASSES, image_size=32, local=mixer.needs_local, width=16)
    network.to(device, memory_format=torch.channels_last if compute.channels_last else None)
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    statistics = make_statistics((0.5, 0.25, 0.1), (0.5, 0.25, 0.2), device)
    step = Step(network, mixer, optimiser, statistics, Ranks(device), compute=compute)
    batch, order = squares(_BATCH, 32, classes=_CLASSES).to(device), RunBatches(steps * _BATCH, _BATCH, seed=0)

    def train(strict: bool) -> None:
        progress = Progress(0, 0, Means(), Waiting(device))

        def look(_: int) -> None:  # the means that are read at the end may wait
            if strict and device.type == "cuda":
                torch.cuda.set_sync_debug_mode("error" if progress.number < steps else "default")

        train_one_epoch(step, [batch] * steps, order, progress, look)

    train(strict=False)  # warm up: kernels, memory
    try:
        train(strict=True)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return steps - 1
