"""Averages of feature maps over regions, as functions of tensors."""

import torch
from torch import Tensor

from lgcoamix.ops.losses import full_precision


def pool_superpixels(features: Tensor, regions: Tensor, count: int) -> Tensor:
    """Average the features inside every region.

    Parameters
    ----------
    features : (B, D, H, W) floating tensor.
    regions : (B, H, W) integer tensor; ids outside [0, count) belong to no region and are ignored.
    count : K, static bound on region ids.

    Returns
    -------
    (B, K, D) tensor, float32 for half precision. The row of a region that is absent from an image is zero, never NaN.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import pool_superpixels
    >>> features = torch.tensor([[[[1.0, 3.0], [5.0, 5.0]]]])
    >>> pool_superpixels(features, torch.tensor([[[0, 0], [1, 1]]]), count=3)[0, :, 0]
    tensor([2., 5., 0.])
    """
    if features.ndim != 4 or regions.shape != (features.shape[0], *features.shape[2:]):
        raise ValueError(
            f"regions must be (B, H, W) to match features {tuple(features.shape)}, got {tuple(regions.shape)}; "
            "crop and resize an image and its map to the same window (lgcoamix/data/transforms.py)"
        )
    features = full_precision(features)  # sums over pixels overflow or stagnate in half precision
    B, D = features.shape[:2]
    slots = _slots(regions, count)
    # A spare slot collects the pixels of no region. Both branches read the features in place, without a copy.
    if features.permute(0, 2, 3, 1).is_contiguous():  # channels last: a pixel is a row
        rows = slots + (count + 1) * torch.arange(B, device=slots.device)[:, None]
        sums = features.new_zeros(B * (count + 1), D)
        sums = sums.index_add(0, rows.flatten(), features.permute(0, 2, 3, 1).flatten(0, 2))
        sums = sums.view(B, count + 1, D)[:, :count]
    else:  # the index is expanded, not copied, over D
        sums = features.new_zeros(B, D, count + 1)
        sums = sums.scatter_add(2, slots[:, None].expand(B, D, -1), features.flatten(2))
        sums = sums[:, :, :count].transpose(1, 2)
    areas = region_areas(regions, count).to(features.dtype)
    return sums / areas.clamp(min=1)[:, :, None]


def region_areas(regions: Tensor, count: int) -> Tensor:
    """Count the pixels of every region.

    Parameters
    ----------
    regions : (B, H, W) integer tensor; ids outside [0, count) are ignored.
    count : K, static bound on region ids.

    Returns
    -------
    (B, K) int64 tensor; 0 for absent regions.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import region_areas
    >>> region_areas(torch.tensor([[[0, 0], [0, 2]]]), count=3)
    tensor([[3, 0, 1]])
    """
    slots = _slots(regions, count)
    areas = slots.new_zeros(len(slots), count + 1)
    return areas.scatter_add(1, slots, torch.ones_like(slots))[:, :count]


def _slots(regions: Tensor, count: int) -> Tensor:
    """Return (B, H·W) int64 ids, with all ids outside [0, count) replaced by ``count``."""
    ids = regions.flatten(1).long()
    return torch.where((ids >= 0) & (ids < count), ids, count)
