"""Training and evaluation. Knows no method by name."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lgcoamix.clock import Waiting
from lgcoamix.data.loader import on_device
from lgcoamix.data.order import EpochBatches, split_evenly
from lgcoamix.errors import RunError
from lgcoamix.mixing import Batch, Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import Statistics, to_inputs
from lgcoamix.ops.output import Output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.sections import ComputeSettings

_REMEDY = "try a smaller --set optim.lr=..., or --set optim.clip=5; with --amp fp16 try bf16"
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Step:
    """What one training step needs besides the batch.

    Parameters
    ----------
    network : the network, as it is saved and evaluated.
    mixer, optimiser : the parts.
    statistics : mean and standard deviation of the inputs, on the device.
    ranks : this process and its device.
    seed : of the run.
    compute : precision, memory order, compilation.
    clip, accumulate : see :class:`lgcoamix.settings.sections.OptimSettings`.
    average : of the weights, or None.
    """

    network: nn.Module
    mixer: Mixer
    optimiser: torch.optim.Optimizer
    statistics: Statistics
    ranks: Ranks
    seed: int = 0
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    clip: float = 0.0
    accumulate: int = 1
    average: ModelEmaV3 | None = None
    model: nn.Module = field(init=False)
    mix: Callable[..., Mixed] = field(init=False)
    loss: Callable[..., dict[str, Tensor]] = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        """Wrap what computes: for compilation, for half precision."""
        model, mix, loss = self.network, self.mixer.mix, self.mixer.loss
        if self.compute.compile:
            model, mix, loss = (torch.compile(part, dynamic=False) for part in (model, mix, loss))
        scaler = torch.amp.GradScaler(self.ranks.device.type, enabled=self.compute.amp == "fp16")
        for name, value in (("model", model), ("mix", mix), ("loss", loss), ("scaler", scaler)):
            object.__setattr__(self, name, value)

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        return self.ranks.device

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the average of the weights, where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory order of the inputs."""
        return torch.channels_last if self.compute.channels_last else torch.contiguous_format

    def restore(self, state: dict[str, Any]) -> None:
        """Take up network, optimiser, scaler and average from the state that a checkpoint holds."""
        self.network.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.module.load_state_dict(state["model_ema"])

    def autocast(self) -> AbstractContextManager:
        """Half precision, where it is wanted."""
        if self.compute.amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, _HALF[self.compute.amp])


@dataclass
class Progress:
    """Where an epoch is, and what it saw so far.

    Parameters
    ----------
    epoch, number : the next step.
    means : of losses and monitors.
    lams : the monitors of mixed steps that are not written yet: (step, {name: value of this rank's share}).
    waiting : clock of the loader.
    """

    epoch: int
    number: int
    means: Means
    waiting: Waiting
    lams: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)


def normalise(step: Step, batch: Batch) -> Batch:
    """The batch as the network takes it."""
    images = to_inputs(batch.images, *step.statistics, step.memory_format)
    return replace(batch, images=images, statistics=step.statistics)


def plan_batch(step: Step, batch: Batch, epoch: int, number: int, is_open: bool = True, part: int = 0) -> Plan | None:
    """Draw how step ``number`` of ``epoch`` mixes one part of a normalised batch; None leaves it as it is.

    Parameters
    ----------
    is_open : whether the gate is open.
    part : which of the step's parts, where gradients are accumulated.
    """
    seed = derive_seed("mix", step.seed, epoch, number, step.ranks.rank, part)
    return step.mixer.plan(batch, torch.Generator().manual_seed(seed), step.network, is_open)


def mix_planned(step: Step, batch: Batch, plan: Plan | None) -> Mixed:
    """Mix a normalised batch as it was planned."""
    return unmixed(batch) if plan is None else step.mix(batch, plan)


def mix_batch(step: Step, batch: Batch, epoch: int, number: int, is_open: bool = True, part: int = 0) -> Mixed:
    """Normalise and mix one part of a batch: see :func:`plan_batch`."""
    batch = normalise(step, batch)
    return mix_planned(step, batch, plan_batch(step, batch, epoch, number, is_open, part))


def draw_gate(step: Step, epoch: int, number: int) -> bool:
    """Draw the gate of a step: the same on all ranks."""
    return step.mixer.gate(torch.Generator().manual_seed(derive_seed("gate", step.seed, epoch, number)))


def train_one_epoch(
    step: Step,
    loader: Iterable[Batch],
    batches: EpochBatches,
    progress: Progress,
    after_step: Callable[[int], None],
    mixing: bool = True,
) -> dict[str, float]:
    """Train from where ``progress`` is to the end of its epoch.

    Parameters
    ----------
    step : model, mixer, optimiser and the rest; the learning rate is set.
    loader : this rank's batches from ``progress.number`` on.
    batches : the order that the loader follows.
    progress : is kept up to date; between steps it and the parts of ``step`` are a complete state.
    after_step : is called after every step with the size of its batch over all ranks.
    mixing : False leaves every batch as it is.

    Returns
    -------
    Mean of the loss, of every term over the batches that had it, of the method's monitors over the mixed batches, and
    the share of mixed batches.

    Raises
    ------
    RunError : a loss is not finite.
    """
    step.network.train()
    for batch in progress.waiting.around(on_device(loader, step.device)):
        epoch, number = progress.epoch, progress.number
        torch.manual_seed(derive_seed("layers", step.seed, epoch, number, step.ranks.rank))  # dropout, drop path
        _run_step(step, batch, progress, batches.weight(number), mixing and draw_gate(step, epoch, number))
        progress.number += 1
        after_step(batches.size(number))
    return read_finite(progress, step.ranks)


def _run_step(step: Step, batch: Batch, progress: Progress, weight: float, is_open: bool) -> None:
    shares = split_evenly(len(batch.labels), step.accumulate)
    step.ranks.follow_first(step.network)
    lams: dict[str, Tensor] = {}
    for place, (begin, end) in enumerate(shares):
        share = weight * (end - begin) / len(batch.labels)
        part = batch if len(shares) == 1 else batch.part(begin, end)
        mixed = mix_batch(step, part, progress.epoch, progress.number, is_open, place)
        with step.autocast():
            output: Output = step.model(mixed.images, mixed.regions, mixed.count)
            terms = step.loss(output, mixed)
            loss = torch.stack(list(terms.values())).sum()
        step.scaler.scale(loss * share).backward()  # summed over parts and ranks: the mean over the whole batch
        with torch.no_grad():
            progress.means.add({"loss": loss, **terms}, share)
            progress.means.add({"mixed": torch.tensor(float(is_open))}, share)
            if is_open:
                monitors = step.mixer.monitors(output, mixed)
                progress.means.add(monitors, share)
                lams = {name: lams.get(name, 0.0) + value.detach() * share for name, value in monitors.items()}
    step.ranks.add_gradients(step.network)
    if step.clip:
        step.scaler.unscale_(step.optimiser)
        nn.utils.clip_grad_norm_(step.network.parameters(), step.clip)
    step.scaler.step(step.optimiser)
    step.scaler.update()
    step.optimiser.zero_grad(set_to_none=True)
    if step.average is not None:
        step.average.update(step.network)
    if lams:
        progress.lams.append((progress.number, lams))


def read_finite(progress: Progress, ranks: Ranks) -> dict[str, float]:
    """The means of an epoch so far.

    Raises
    ------
    RunError : the loss is not finite.
    """
    means = progress.means.read(ranks)
    if not math.isfinite(means.get("loss", 0.0)):
        raise RunError(
            f"the loss is {means['loss']} by step {progress.number} of epoch {progress.epoch + 1}; {_REMEDY}"
        )
    return means


@torch.no_grad()
def refuse_infinite_weights(network: nn.Module) -> None:
    """See that a network is worth saving.

    Raises
    ------
    RunError : a weight is not finite.
    """
    largest = torch.stack([values.abs().amax().float() for values in network.parameters() if values.numel()])
    if not bool(largest.isfinite().all()):
        raise RunError(f"a weight of the network is infinite or no number; {_REMEDY}")
