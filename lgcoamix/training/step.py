"""The parts of a training step, and how a batch is mixed, whatever the method."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Self

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lgcoamix.mixing import Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.batch import Batch, Statistics
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.normalise import to_inputs
from lgcoamix.ops.output import Output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.sections import ComputeSettings
from lgcoamix.training.optim import refuse_other_optimiser
from preprocess.text import one_line

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FLOAT32 = ComputeSettings()


class Step:
    """What a training step needs besides its batch.

    Parameters
    ----------
    network : not compiled; this one is saved and evaluated.
    mixer, optimiser : of the run.
    statistics : mean and standard deviation of the inputs, on the device.
    ranks : this process and its device.
    seed : of the run.
    compute : precision, memory format, compilation.
    clip, accumulate : see :class:`lgcoamix.settings.sections.OptimSettings`.
    average : of the weights, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        mixer: Mixer,
        optimiser: torch.optim.Optimizer,
        statistics: Statistics,
        ranks: Ranks,
        seed: int = 0,
        compute: ComputeSettings = _FLOAT32,
        clip: float = 0.0,
        accumulate: int = 1,
        average: ModelEmaV3 | None = None,
    ) -> None:
        self.network, self.mixer, self.optimiser, self.average = network, mixer, optimiser, average
        self.statistics, self.ranks, self.seed, self.compute = statistics, ranks, seed, compute
        self.clip, self.accumulate = clip, accumulate
        parts: tuple[Any, ...] = (network, mixer.mix, mixer.loss)
        if compute.compile:
            parts = tuple(torch.compile(part, dynamic=False) for part in parts)
        self.model: Callable[..., Output] = parts[0]
        self._mix: Callable[..., Mixed] = parts[1]
        self.loss: Callable[..., dict[str, Tensor]] = parts[2]
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=compute.amp == "fp16")

    @property
    def device(self) -> torch.device:
        """Where the step runs."""
        return self.ranks.device

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate: with averaged weights, if there are any."""
        return self.network if self.average is None else self.average.module

    def on_rank(self, ranks: Ranks) -> Self:
        """The same step on another rank."""
        other = copy.copy(self)
        other.ranks = ranks
        return other

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and scaler; :meth:`weights` has the rest."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def weights(self) -> dict[str, Any]:
        """Weights of the network and their average, as a checkpoint holds them."""
        average = None if self.average is None else self.average.module.state_dict()
        return {"model": self.network.state_dict(), "model_ema": average}

    def restore(self, state: dict[str, Any]) -> None:
        """Load network, optimiser, scaler and average from the state in a checkpoint.

        Raises
        ------
        ValueError : it is of another network or optimiser.
        """
        refuse_other_optimiser(self.optimiser, state["optimiser"])
        try:
            self.network.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.module.load_state_dict(state["model_ema"] or {})
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:  # no common type
            raise ValueError(one_line(error, 300)) from None

    def autocast(self) -> AbstractContextManager:
        """Half precision, if the settings ask for it."""
        if self.compute.amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, _HALF[self.compute.amp])

    def normalise(self, batch: Batch) -> Batch:
        """The batch with normalised images, in the memory format of the network."""
        order = torch.channels_last if self.compute.channels_last else torch.contiguous_format
        images = to_inputs(batch.images, *self.statistics, order)
        return replace(batch, images=images, statistics=self.statistics)

    def gate(self, epoch: int, number: int) -> bool:
        """Draw whether step ``number`` of ``epoch`` mixes: the same on all ranks."""
        return self.mixer.gate(torch.Generator().manual_seed(derive_seed("gate", self.seed, epoch, number)))

    def plan(self, batch: Batch, epoch: int, number: int, is_open: bool = True, part: int = 0) -> Plan | None:
        """Draw how step ``number`` of ``epoch`` mixes one part of a normalised batch; None leaves it unmixed.

        Parameters
        ----------
        is_open : whether the gate is open.
        part : which part of the batch, if gradients are accumulated.
        """
        seed = derive_seed("mix", self.seed, epoch, number, self.ranks.rank, part)
        return self.mixer.plan(batch, torch.Generator().manual_seed(seed), self.network, is_open)

    def mix(self, batch: Batch, plan: Plan | None) -> Mixed:
        """Mix a normalised batch as planned."""
        return unmixed(batch) if plan is None else self._mix(batch, plan)
