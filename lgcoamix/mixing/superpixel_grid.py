"""SuperpixelGridMix (Hammoudi et al., 2022, arXiv 2204.08458): paste superpixels, weight the labels by area."""

from dataclasses import dataclass

from lgcoamix.mixing.superpixels import SuperpixelMixer
from lgcoamix.settings.mixers import SuperpixelGridOptions


@dataclass(frozen=True)
class SuperpixelGrid(SuperpixelGridOptions, SuperpixelMixer):
    """Paste each superpixel of b with probability ``select_prob``; λ is their share of the pixels.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import SuperpixelGrid
    >>> images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    >>> maps = (torch.arange(32) // 8).expand(4, 32, 32)  # stripes instead of superpixels
    >>> mixer = SuperpixelGrid(mix_prob=1.0, select_prob=1.0)
    >>> mixer(images, labels, maps, generator=torch.Generator().manual_seed(0)).lam
    tensor([1., 1., 1., 1.])
    """
