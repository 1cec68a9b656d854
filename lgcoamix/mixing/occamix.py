"""OcCaMix (Dornaika, Sun et al., Pattern Recognition 2023): paste the most attentive superpixels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lgcoamix.mixing.superpixels import SuperpixelMixer, SuperpixelPlan
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.class_activation import classifier_weight, last_map
from lgcoamix.ops.losses import full_precision
from lgcoamix.settings.mixers import OcCaMixOptions


@dataclass(frozen=True)
class OcCaMix(OcCaMixOptions, SuperpixelMixer):
    """Paste the superpixels in the most attentive cells of b; λ is their share of the pixels.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import LocalGlobalNet, OcCaMix
    >>> images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    >>> maps = (torch.arange(32) // 8).expand(4, 32, 32)  # stripes instead of superpixels
    >>> model = LocalGlobalNet("resnet18_cifar", num_classes=4, local=False)
    >>> mixer = OcCaMix(mix_prob=1.0, top_cells=2)
    >>> mixed = mixer(images, labels, maps, generator=torch.Generator().manual_seed(0), model=model)
    >>> 0 < float(mixed.lam.min()) <= float(mixed.lam.max()) <= 0.5
    True
    """

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SuperpixelPlan:
        """Select superpixels with an attention pass of the network."""
        features = last_map(model, batch.inputs())
        cells = best_cells(features, classifier_weight(model, features.shape[1]), self.top_cells)
        selected = superpixels_of_cells(batch.maps, batch.count, cells, tuple(features.shape[-2:]))
        return SuperpixelPlan(permutation, selected[permutation])


def best_cells(features: Tensor, weight: Tensor, most: int) -> Tensor:
    """Choose the cells of a feature map with the highest activation of any class.

    Parameters
    ----------
    features : (B, C, h, w) tensor.
    weight : (N, C) tensor of the classifier.
    most : number of cells, capped at h·w.

    Returns
    -------
    (B, k) int64 tensor of cells, numbered row by row from 0; sorted by descending score, ties by ascending cell. The
    score of a cell is the maximum over classes of ReLU(W_c·F).
    """
    features = full_precision(features)
    with torch.autocast(features.device.type, enabled=False):
        activation = torch.einsum("nc,bchw->bnhw", weight.to(features), features).relu()
    scores = activation.amax(dim=1).flatten(1)
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :most]


def superpixels_of_cells(maps: Tensor, count: int, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Find, for each cell, the superpixel with the largest share of its area in that cell.

    Parameters
    ----------
    maps : (B, H, W) integer tensor of ids; ids outside [0, count) are no superpixel.
    count : K, static bound on the ids.
    cells : (B, k) int64 tensor of cells, numbered row by row from 0.
    grid : (h, w): a cell is H // h pixels high and W // w wide; pixels beyond the last cell belong to none.

    Returns
    -------
    (B, K) bool tensor: the union over cells of the superpixel with the largest |sp ∩ cell| / |sp|, ties by the lowest
    id.
    """
    (B, H, W), (h, w) = maps.shape, grid
    row = torch.arange(H, device=maps.device) // (H // h)
    column = torch.arange(W, device=maps.device) // (W // w)
    inside = (row < h)[:, None] & (column < w)[None, :]
    cell = torch.where(inside, row[:, None] * w + column[None, :], h * w)  # spare cell: pixels beyond the last
    ids = maps.long()
    ids = torch.where((ids >= 0) & (ids < count), ids, count)  # spare superpixel: sentinel pixels
    slots = (cell * (count + 1) + ids).flatten(1)
    pixels = slots.new_zeros(B, (h * w + 1) * (count + 1)).scatter_add(1, slots, torch.ones_like(slots))
    pixels = pixels.view(B, h * w + 1, count + 1)[:, :, :count]
    share = pixels / pixels.sum(dim=1, keepdim=True).clamp(min=1)
    best = torch.where(pixels.sum(dim=2) > 0, share.argmax(dim=2), count).gather(1, cells)
    return torch.zeros(B, count + 1, dtype=torch.bool, device=maps.device).scatter(1, best, True)[:, :count]
