"""No mixing: the baseline that every method is compared with."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.mixers import PlainOptions


@dataclass(frozen=True)
class Plain(PlainOptions, Mixer):
    """Leaves every batch as it is."""

    mix_prob: ClassVar[float] = 0.0

    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> Plan:
        """Nothing to draw: every image meets itself."""
        return Plan(torch.arange(len(batch.labels), device=batch.labels.device))

    def mix(self, batch: Batch, plan: Plan) -> Mixed:
        """Return the batch as it is."""
        return unmixed(batch)
