"""No mixing: the baseline of every comparison."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.mixers import PlainOptions


@dataclass(frozen=True)
class Plain(PlainOptions, Mixer):
    """Return every batch unmixed."""

    mix_prob: ClassVar[float] = 0.0

    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> Plan:
        """Draw nothing: the permutation is the identity."""
        return Plan(torch.arange(len(batch.labels), device=batch.labels.device))

    def mix(self, batch: Batch, plan: Plan) -> Mixed:
        """Return the batch unmixed."""
        return unmixed(batch)
