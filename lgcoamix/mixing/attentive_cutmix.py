"""Attentive CutMix (Walawalkar et al., ICASSP 2020, arXiv 2003.13048): paste the most attentive cells."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, draw_beta, paste
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.mixers import AttentiveCutMixOptions
from lgcoamix.settings.weights import names_file

if TYPE_CHECKING:
    from lgcoamix.models.extractor import Extractor

GRID = 7


@dataclass(frozen=True)
class CellPlan(Plan):
    """Which cells of b are pasted onto a."""

    cells: Tensor  # (B, 7, 7) bool; row i refers to image permutation[i]


@dataclass(frozen=True)
class AttentiveCutMix(AttentiveCutMixOptions, Mixer):
    """Paste the most attentive of the 7x7 cells of b at the same position in a; λ is their share of the pixels.

    Examples
    --------
    >>> from lgcoamix import AttentiveCutMix
    >>> mixer = AttentiveCutMix(top_cells=9, extractor="resnet18")
    >>> mixer.fetches  # the first batch downloads its weights
    'resnet18'
    """

    @property
    def fetches(self) -> str | None:
        """The extractor, unless its weights come from a file."""
        return None if names_file(self.extractor_weights) else self.extractor

    def prepare(self) -> None:
        """Load the extractor."""
        _ = self.extractor_net

    @cached_property
    def extractor_net(self) -> "Extractor":
        """The frozen network that scores the cells, on the device of the last images."""
        from lgcoamix.models.extractor import Extractor  # imports timm, which no other method needs

        options = (self.extractor_weights, self.extractor_size, self.extractor_normalise)
        return Extractor(self.extractor, *options, least=GRID)

    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> CellPlan:
        """Choose cells with an attention pass of the extractor."""
        most = self.top_cells
        if self.draw_cells:
            most = max(1, int(GRID**2 * draw_beta(self.draw_cells, generator)))
        if self.extractor_net.mean.device != batch.images.device:
            self.extractor_net.to(batch.images.device)
        heat = self.extractor_net.heat(batch.pictures())
        return CellPlan(permutation, attentive_cells(heat, most)[permutation])

    def mix(self, batch: Batch, plan: CellPlan) -> Mixed:
        """Paste the chosen cells."""
        return paste(batch, plan.permutation, cells_to_pixels(plan.cells, batch.images.shape[-2:]))


def attentive_cells(heat: Tensor, most: int) -> Tensor:
    """Choose the cells with the highest scores.

    Parameters
    ----------
    heat : (B, h, w) floating tensor; averaged to 7x7.
    most : number of cells.

    Returns
    -------
    (B, 7, 7) bool tensor; ties go to the first cell, row by row.
    """
    scores = F.adaptive_avg_pool2d(heat[:, None], GRID).flatten(1)
    chosen = scores.sort(dim=1, descending=True, stable=True).indices[:, :most]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, True).unflatten(1, (GRID, GRID))


def cells_to_pixels(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Expand a (B, 7, 7) grid of cells to the (B, H, W) pixels of images: pixel y belongs to row 7·y // H."""
    row, column = (torch.arange(length, device=cells.device) * GRID // length for length in size)
    return cells[:, row[:, None], column[None, :]]
