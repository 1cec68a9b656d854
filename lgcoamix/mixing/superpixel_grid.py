"""SuperpixelGridMix (Hammoudi et al., 2022, arXiv 2204.08458): paste superpixels, weight the labels by area."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer
from lgcoamix.mixing.superpixels import SuperpixelPlan, paste_superpixels, select_superpixels
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.mixers import SuperpixelGridOptions


@dataclass(frozen=True)
class SuperpixelGrid(SuperpixelGridOptions, Mixer):
    """Paste each superpixel of b with probability ``select_prob``; λ is their share of the pixels."""

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SuperpixelPlan:
        """Select every superpixel of b independently, with probability ``select_prob``."""
        return select_superpixels(batch, permutation, generator, self.select_prob)

    def mix(self, batch: Batch, plan: SuperpixelPlan) -> Mixed:
        """Paste the selected superpixels."""
        return paste_superpixels(batch, plan)[0]
