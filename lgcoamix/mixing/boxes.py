"""Random boxes, for Cutout, CutMix and SnapMix."""

import math

import torch
from torch import Tensor


def draw_box(size: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """Draw a box with sides floor(H√share) and floor(W√share), centred at a random pixel and clipped to the image.

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
    """Mask the pixels in boxes: (4,) edges give an (H, W) bool tensor, (B, 4) edges a (B, H, W) one."""
    top, bottom, left, right = (edge[..., None] for edge in box.unbind(dim=-1))
    rows, columns = (torch.arange(length, device=box.device) for length in size)
    return ((rows >= top) & (rows < bottom))[..., :, None] & ((columns >= left) & (columns < right))[..., None, :]
