"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899): paste a box, weight the labels by its area."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, draw_beta, weight_dtype
from lgcoamix.mixing.boxes import draw_box, inside
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device
from lgcoamix.settings.mixers import CutMixOptions


@dataclass(frozen=True)
class CutMixPlan(Plan):
    """One box for the batch."""

    box: Tensor  # (4,) int64: top, bottom, left, right; the ends are exclusive, clipped to the image
    drawn: Tensor  # scalar float64: the share of the box before rounding and clipping


@dataclass(frozen=True)
class CutMix(CutMixOptions, Mixer):
    """Paste one box of b into a; λ is its share of the area.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import CutMix
    >>> images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    >>> mixed = CutMix(alpha=1.0)(images, labels, generator=torch.Generator().manual_seed(0))
    >>> mixed.images.shape, mixed.soft_targets(num_classes=8).shape
    (torch.Size([8, 3, 32, 32]), torch.Size([8, 8]))
    """

    @property
    def by_area(self) -> bool:
        """Whether λ is the share of the box that was pasted, not of the one that was drawn."""
        return self.correct_lam

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> CutMixPlan:
        """Draw the box, with share 1-λ0."""
        cut, device = 1 - draw_beta(self.alpha, generator), batch.labels.device
        box = draw_box(batch.images.shape[-2:], cut, generator)
        drawn = torch.tensor(cut, dtype=torch.float64)
        return CutMixPlan(permutation, to_device(box, device), to_device(drawn, device))

    def mix(self, batch: Batch, plan: CutMixPlan) -> Mixed:
        """Paste the box."""
        pasted = inside(plan.box, batch.images.shape[-2:])
        images = torch.where(pasted, batch.images[plan.permutation], batch.images)
        dtype = weight_dtype(batch.images)
        share = pasted.to(dtype).mean() if self.correct_lam else plan.drawn.to(dtype)
        weight_b = share.expand(len(batch.labels))
        return Mixed(images, batch.labels, batch.labels[plan.permutation], 1 - weight_b, weight_b)
