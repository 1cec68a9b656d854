"""Boxes of a share of the image: what CutMix and SnapMix share."""

import math

import torch
from torch import Tensor


def draw_box(size: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """Draw a box: sides floor(H√share) and floor(W√share), the centre uniform over the pixels, clipped to the image.

    Returns
    -------
    (4,) int64 tensor: top, bottom, left, right; the ends are exclusive.
    """
    edges = []
    for length in size:
        side = math.floor(length * math.sqrt(share))
        centre = int(torch.randint(length, (), generator=generator))
        edges += [max(0, centre - side // 2), min(length, centre + side // 2)]
    return torch.tensor(edges)


def inside(box: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) bool tensor: which pixels lie in a box."""
    top, bottom, left, right = box.unbind()
    rows, columns = (torch.arange(length, device=box.device) for length in size)
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None, :]
