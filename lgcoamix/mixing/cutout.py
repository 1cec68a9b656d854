"""Cutout (DeVries & Taylor, 2017, arXiv 1708.04552): blank a square out of every image."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, unmixed
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device
from lgcoamix.settings.mixers import CutoutOptions


@dataclass(frozen=True)
class CutoutPlan(Plan):
    """One box for each image. No image receives anything: the permutation is the identity.

    Parameters
    ----------
    boxes : (B, 4) int64 tensor: top, bottom, left, right; the ends are exclusive, and may lie outside of the image.
    """

    boxes: Tensor


@dataclass(frozen=True)
class Cutout(CutoutOptions, Mixer):
    """Set a box of the share ``area`` to zero; the label stays."""

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> CutoutPlan:
        """Draw the centre of every box uniformly over the pixels; a box at the edge loses what sticks out."""
        edges = []
        for length in batch.images.shape[-2:]:
            side = math.floor(length * math.sqrt(self.area))
            first = torch.randint(length, (len(batch.labels),), generator=generator) - side // 2
            edges += [first, first + side]
        own = torch.arange(len(batch.labels))
        device = batch.labels.device
        return CutoutPlan(to_device(own, device), to_device(torch.stack(edges, dim=1), device))

    def mix(self, batch: Batch, plan: CutoutPlan) -> Mixed:
        """Blank."""
        H, W = batch.images.shape[-2:]
        top, bottom, left, right = (edge[:, None] for edge in plan.boxes.unbind(dim=1))
        rows = torch.arange(H, device=plan.boxes.device)
        columns = torch.arange(W, device=plan.boxes.device)
        inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
        blank = torch.where(inside[:, None], batch.zero(), batch.images)
        return replace(unmixed(batch), images=blank)
