"""OcCaMix (Dornaika, Sun et al., Pattern Recognition 2023): paste the superpixels that the network looks at."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer
from lgcoamix.mixing.superpixels import SuperpixelPlan, paste_superpixels
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.class_activation import classifier_weight, last_map
from lgcoamix.ops.losses import full_precision
from lgcoamix.settings.mixers import OcCaMixOptions


@dataclass(frozen=True)
class OcCaMix(OcCaMixOptions, Mixer):
    """Paste the superpixels that fill the most attentive cells of b; λ is their share of the pixels."""

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SuperpixelPlan:
        """Look at every image with the network, and select superpixels of its best cells."""
        features = last_map(model, batch.inputs())
        cells = best_cells(features, classifier_weight(model, features.shape[1]), self.top_cells)
        selected = superpixels_of_cells(batch.maps, batch.count, cells, tuple(features.shape[-2:]))
        return SuperpixelPlan(permutation, selected[permutation])

    def mix(self, batch: Batch, plan: SuperpixelPlan) -> Mixed:
        """Paste."""
        return paste_superpixels(batch, plan)[0]


def best_cells(features: Tensor, weight: Tensor, most: int) -> Tensor:
    """Choose the cells of a feature map that any class is most active at.

    Parameters
    ----------
    features : (B, C, h, w) tensor.
    weight : (N, C) tensor of the classifier.
    most : how many, capped at h·w.

    Returns
    -------
    (B, k) int64 tensor of cells, row by row from 0; by falling score, ties by rising cell. The score of a cell is the
    maximum over classes of ReLU(W_c·F).
    """
    features = full_precision(features)
    activation = torch.einsum("nc,bchw->bnhw", weight.to(features), features).relu()
    scores = activation.amax(dim=1).flatten(1)
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :most]


def superpixels_of_cells(maps: Tensor, count: int, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Find for each cell the superpixel that lies in it most.

    Parameters
    ----------
    maps : (B, H, W) integer tensor of ids; those outside [0, count) are no superpixel.
    count : K, static bound on the ids.
    cells : (B, k) int64 tensor of cells, row by row from 0.
    grid : (h, w): a cell is H // h pixels high and W // w wide; pixels beyond the last cell are in none.

    Returns
    -------
    (B, K) bool tensor: of the superpixels that touch a cell, the one with the largest |sp ∩ cell| / |sp|, ties by the
    lowest id; for all cells together.
    """
    (B, H, W), (h, w) = maps.shape, grid
    row = torch.arange(H, device=maps.device) // (H // h)
    column = torch.arange(W, device=maps.device) // (W // w)
    inside = (row < h)[:, None] & (column < w)[None, :]
    cell = torch.where(inside, row[:, None] * w + column[None, :], h * w)  # one spare cell takes what lies beyond
    ids = maps.long()
    ids = torch.where((ids >= 0) & (ids < count), ids, count)  # and one spare superpixel the sentinel
    slots = (cell * (count + 1) + ids).flatten(1)
    pixels = slots.new_zeros(B, (h * w + 1) * (count + 1)).scatter_add(1, slots, torch.ones_like(slots))
    pixels = pixels.view(B, h * w + 1, count + 1)[:, :, :count]
    share = pixels / pixels.sum(dim=1, keepdim=True).clamp(min=1)
    best = torch.where(pixels.sum(dim=2) > 0, share.argmax(dim=2), count).gather(1, cells)
    return torch.zeros(B, count + 1, dtype=torch.bool, device=maps.device).scatter(1, best, True)[:, :count]
