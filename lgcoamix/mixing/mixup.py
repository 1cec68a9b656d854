"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412): blend two images and their labels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, draw_beta, like, weight_dtype
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device
from lgcoamix.settings.mixers import MixupOptions


@dataclass(frozen=True)
class MixupPlan(Plan):
    """One λ for the batch."""

    lam: Tensor  # scalar float64: weight of image b


@dataclass(frozen=True)
class Mixup(MixupOptions, Mixer):
    """x̃ = (1-λ)·a + λ·b with 1-λ ~ Beta(alpha, alpha), one λ per batch.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import Mixup
    >>> images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    >>> mixed = Mixup(alpha=0.4)(images, labels, generator=torch.Generator().manual_seed(0))
    >>> bool((mixed.weight_a + mixed.weight_b == 1).all())
    True
    """

    by_area = False

    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> MixupPlan:
        """Draw λ."""
        lam = torch.tensor(1 - draw_beta(self.alpha, generator), dtype=torch.float64)
        return MixupPlan(permutation, to_device(lam, batch.labels.device))

    def mix(self, batch: Batch, plan: MixupPlan) -> Mixed:
        """Blend the images."""
        lam = plan.lam.to(weight_dtype(batch.images) if not batch.images.is_floating_point() else batch.images.dtype)
        images = like((1 - lam) * batch.images + lam * batch.images[plan.permutation], batch.images)
        weight_b = plan.lam.to(weight_dtype(batch.images)).expand(len(batch.labels))
        return Mixed(images, batch.labels, batch.labels[plan.permutation], 1 - weight_b, weight_b)
