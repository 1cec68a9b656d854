"""Selecting and pasting superpixels, for LGCOAMix, SuperpixelGridMix and OcCaMix."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, paste
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import to_device


@dataclass(frozen=True)
class SuperpixelPlan(Plan):
    """Which superpixels of b are pasted onto a."""

    selected: Tensor  # (B, K_half) bool; row i refers to the superpixels of image permutation[i]


class SuperpixelMixer(Mixer):
    """A method that selects superpixels of b and pastes them onto a."""

    select_prob: float

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SuperpixelPlan:
        """Select every superpixel of b independently, with probability ``select_prob``."""
        draws = torch.rand(len(batch.labels), batch.count, generator=generator)
        return SuperpixelPlan(permutation, to_device(draws < self.select_prob, batch.labels.device))

    def mix(self, batch: Batch, plan: SuperpixelPlan) -> Mixed:
        """Paste the selected superpixels."""
        return paste_superpixels(batch, plan)[0]


def paste_superpixels(batch: Batch, plan: SuperpixelPlan) -> tuple[Mixed, Tensor]:
    """Paste the selected superpixels of b at the same position in a; λ is their share of the pixels.

    Returns
    -------
    mixed : without regions.
    regions : (B, H, W) int64 tensor: ids of a, ids of b plus K_half, or -1 for a pixel of no superpixel.
    """
    half = batch.count
    own = batch.maps.long()
    ids = torch.where((own >= 0) & (own < half), own, -1)
    other = ids[plan.permutation]
    # Sentinel pixels read the choice of superpixel 0; the next line excludes them.
    chosen = plan.selected.gather(1, other.flatten(1).clamp(min=0)).view_as(other)
    pasted = chosen & (other >= 0)
    return paste(batch, plan.permutation, pasted), torch.where(pasted, other + half, ids)
