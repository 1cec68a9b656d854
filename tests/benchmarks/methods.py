"""What every method adds to a training step: its own work beside the network's, and the peak of memory.

The network's work is forward and backward with plain cross-entropy of the unmixed batch: of the backbone, and for a
method with a local branch of backbone and decoder, whose output gets a gradient by adding its mean to the loss. A
method's own work is plan, mix, and forward and backward of pooling, attention and losses, down to logits and decoder
output and no further. Where a network looks at the images to plan, that pass stands alone and is not in the share.
Both take turns in one process; the share is the median of the rounds' ratios.

Every method has a process of its own, so that its peak of memory is its own: on a CPU the largest resident set
(``getrusage``), first after steps with plain cross-entropy, then after whole steps of the method, without an optimiser.
On a GPU the same two peaks of the allocator.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor, nn

from lgcoamix.mixing import MIXERS, AttentiveCutMix, Batch, Mixed, Mixer, unmixed
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.class_activation import timm_net
from lgcoamix.ops.output import Output
from tests.benchmarks.common import open_mixer

_BATCH, _SIZE, _N, _GRID = 32, 224, 200, (7, 6)
_COUNT = _GRID[0] * _GRID[1]
_ROUNDS, _TURNS = 3, 3  # of the network; of the method's own work in each of them


@dataclass(frozen=True)
class Case:
    """One backbone and one way to compute it."""

    backbone: str
    device: str
    half: bool = False  # bfloat16 by autocast, channels last

    def autocast(self) -> AbstractContextManager:
        """Half precision, where it is wanted."""
        return torch.autocast(self.device, torch.bfloat16) if self.half else nullcontext()


@dataclass(frozen=True)
class Cost:
    """Seconds, the share of the network's time, and bytes."""

    looking: float
    mixing: float
    losses: float
    network: float
    share: float
    peak_network: int
    peak: int


def measure() -> Table:
    """Every method, each in its own process; all batches are mixed."""
    cases = [Case("resnet18", "cpu")]
    where = f"CPU, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        cases += [Case("resnet18", "cuda"), Case("resnet50", "cuda", half=True)]
        where += f"; {torch.cuda.get_device_name()}"
    title = f"own work in ms, batch {_BATCH} at {_SIZE}, {_COUNT} superpixels, {_N} classes; {where}"
    heads = ("plan, mix", "local, losses", "both", "network", "both of network", "looking", "peak MB", "network's MB")
    table = Table("backbone", "method", *heads, title=title)
    for column in table.columns[:2]:
        column.no_wrap = True
    spawn = multiprocessing.get_context("spawn")
    for case in cases:
        for name in MIXERS:
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                cost = pool.submit(_cost, case, name).result()
            times = (cost.mixing, cost.losses, cost.mixing + cost.losses, cost.network)
            table.add_row(
                f"{case.backbone}, {case.device}{', bf16' * case.half}",
                name,
                *(f"{1e3 * seconds:.1f}" for seconds in times),
                f"{100 * cost.share:.1f} %",
                f"{1e3 * cost.looking:.0f}" if cost.looking else "-",
                f"{cost.peak / 1e6:.0f}",
                f"{cost.peak_network / 1e6:.0f}",
            )
    return table


def _cost(case: Case, name: str) -> Cost:
    torch.manual_seed(0)
    mixer = open_mixer(name)
    memory = torch.channels_last if case.half else torch.contiguous_format
    network = LocalGlobalNet(case.backbone, _N, local=mixer.needs_local).to(case.device, memory_format=memory)
    batch = _batch(case, memory)
    generator = torch.Generator().manual_seed(0)
    looking = _time_looking(mixer, network, case) if name == "attentive_cutmix" or mixer.needs_model else [0.0]

    def mix() -> Mixed:
        plan = mixer.plan(batch, generator, network)
        return unmixed(batch) if plan is None else mixer.mix(batch, plan)

    def plain() -> None:
        network.zero_grad()
        with case.autocast():
            logits, features = _run(network, batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
            (loss if features is None else loss + features.float().mean()).backward()

    def step() -> None:
        network.zero_grad()
        with case.autocast():
            mixed = mix()
            output = network(mixed.images, mixed.regions, mixed.count)
            sum(mixer.loss(output, mixed).values()).backward()

    peaks = [_peak(case, work) for work in (plain, step)]
    with case.autocast(), torch.no_grad():
        given = [None if tensor is None else tensor.clone() for tensor in _run(network, batch.images)]

    def losses(mixed: Mixed) -> None:
        network.zero_grad()
        logits, features = (None if tensor is None else tensor.detach().requires_grad_() for tensor in given)
        with case.autocast():
            local = None if features is None else network.local_head(features, mixed.regions, mixed.count)
            sum(mixer.loss(Output(logits, local), mixed).values()).backward()

    rounds = []
    for _ in range(_ROUNDS):
        turns = []
        for _ in range(_TURNS):
            before = sum(looking)
            with case.autocast():
                mixing, mixed = _seconds(case, mix)
            looked = sum(looking) - before
            turns.append((looked, mixing - looked, _seconds(case, lambda mixed=mixed: losses(mixed))[0]))
        looked, mixing, losing = (statistics.median(each) for each in zip(*turns, strict=True))
        seconds = _seconds(case, plain)[0]
        rounds.append((looked, mixing, losing, seconds, (mixing + losing) / seconds))
    return Cost(*(statistics.median(each) for each in zip(*rounds, strict=True)), *peaks)


def _batch(case: Case, memory: torch.memory_format) -> Batch:
    rows, columns = (torch.arange(_SIZE) * cells // _SIZE for cells in _GRID)
    maps = (rows[:, None] * _GRID[1] + columns[None, :]).to(torch.uint8).expand(_BATCH, -1, -1)
    images = torch.randn(_BATCH, 3, _SIZE, _SIZE).contiguous(memory_format=memory)
    return Batch(images, torch.randint(_N, (_BATCH,)), maps.contiguous(), _COUNT).to(torch.device(case.device))


def _run(network: LocalGlobalNet, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits, and the decoder's output where there is one."""
    if network.decoder is None:
        return network.backbone(images), None
    logits, maps = network.backbone.forward_maps(images)
    return logits, network.decoder(maps, images.shape[-2:])


def _time_looking(mixer: Mixer, network: nn.Module, case: Case) -> list[float]:
    """A list that will get the seconds of every pass which the method makes in order to plan."""
    net = mixer.extractor_net.net if isinstance(mixer, AttentiveCutMix) else timm_net(network)
    forward, times = net.forward_features, []

    def timed(images: Tensor) -> Tensor:
        if net.training:  # the training step itself
            return forward(images)
        seconds, features = _seconds(case, lambda: forward(images))
        times.append(seconds)
        return features

    net.forward_features = timed
    return times


def _seconds(case: Case, work: Callable[[], Any]) -> tuple[float, Any]:
    _wait(case)
    begin = time.perf_counter()
    found = work()
    _wait(case)
    return time.perf_counter() - begin, found


def _wait(case: Case) -> None:
    if case.device == "cuda":
        torch.cuda.synchronize()


def _peak(case: Case, work: Callable[[], object]) -> int:
    """Bytes, after one call; it also warms up."""
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    work()
    if case.device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
