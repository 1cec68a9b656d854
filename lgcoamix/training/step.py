"""What one training step computes: the parts it needs, and how a batch is mixed. Knows no method by name."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lgcoamix.mixing import Batch, Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.batch import Statistics
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.normalise import to_inputs
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.sections import ComputeSettings

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
