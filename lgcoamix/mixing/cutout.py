"""Cutout (DeVries & Taylor, 2017, arXiv 1708.04552): blank a square in every image."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, unmixed
from lgcoamix.mixing.boxes import inside
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device
from lgcoamix.settings.mixers import CutoutOptions


@dataclass(frozen=True)
class CutoutPlan(Plan):
    """One box per image. Nothing is pasted: the permutation is the identity."""

    boxes: Tensor  # (B, 4) int64: top, bottom, left, right; the ends are exclusive and may lie outside the image


@dataclass(frozen=True)
class Cutout(CutoutOptions, Mixer):
    """Set a box with share ``area`` to zero; the label does not change.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import Cutout
    >>> images, labels = torch.ones(8, 3, 32, 32), torch.arange(8)
    >>> mixed = Cutout(area=0.25)(images, labels, generator=torch.Generator().manual_seed(0))
    >>> bool((mixed.images == 0).any()), bool((mixed.weight_a == 1).all())
    (True, True)
    """

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> CutoutPlan:
        """Draw the centre of every box uniformly over the pixels; boxes at the border are clipped."""
        edges = []
        for length in batch.images.shape[-2:]:
            side = math.floor(length * math.sqrt(self.area))
            first = torch.randint(length, (len(batch.labels),), generator=generator) - side // 2
            edges += [first, first + side]
        own, device = torch.arange(len(batch.labels)), batch.labels.device
        return CutoutPlan(to_device(own, device), to_device(torch.stack(edges, dim=1), device))

    def mix(self, batch: Batch, plan: CutoutPlan) -> Mixed:
        """Blank the boxes."""
        boxes = inside(plan.boxes, batch.images.shape[-2:])
        return replace(unmixed(batch), images=torch.where(boxes[:, None], batch.zero(), batch.images))
