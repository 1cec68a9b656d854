"""Running means of losses and monitors, on the device."""

from typing import Any

import torch
from torch import Tensor

from lgcoamix.ops.device import precise
from lgcoamix.ops.distributed import Ranks


class Means:
    """Running means of named scalars on the device; only reading them synchronises with the host."""

    def __init__(self, sums: dict[str, float] | None = None, weights: dict[str, float] | None = None) -> None:
        self._sums: dict[str, Any] = dict(sums or {})
        self._weights = dict(weights or {})

    def add(self, values: dict[str, Tensor], weight: float = 1.0) -> None:
        """Add one observation of every value."""
        for name, value in values.items():
            term = precise(value.detach()) * weight
            self._sums[name] = self._sums[name] + term if name in self._sums else term
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def totals(self, ranks: Ranks) -> tuple[dict[str, float], dict[str, float]]:
        """Sum values and weights over all ranks, which must have added the same names."""
        names = list(self._sums)
        sums = torch.tensor([float(self._sums[name]) for name in names], dtype=torch.float64)
        weights = torch.tensor([self._weights[name] for name in names], dtype=torch.float64)
        both = ranks.total(torch.stack([sums, weights])).tolist()
        return dict(zip(names, both[0], strict=True)), dict(zip(names, both[1], strict=True))

    def read(self, ranks: Ranks) -> dict[str, float]:
        """Compute the means over all ranks."""
        sums, weights = self.totals(ranks)
        return {name: sums[name] / weights[name] for name in sums if weights[name]}
